"""What the tests of the zoo share: its files, and a description of a config from its content."""

import ast
import copy
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = (
    *('baselines', 'frozen', 'dbf', 'rgn', 'l2sp', 'rgn_reg', 'ewc', 'dp_ft', 'se', 'adapter'),
    *('projection', 'learning_rates', 'schedules'),
    *('domain_shift', 'eigenspectrum', 'combined', 'backbones'),
)
FILES: list[Path] = sorted(p for f in FOLDERS for p in (CONFIGS / f).glob('*.py'))
_PATHS = {p.stem: p for p in FILES}
AERIAL = ('dota', 'dior', 'dota-hbb', 'dior-hbb')
# The zoo proper is about aerial pictures; the recipes of two of the papers about everyday ones.
BACKBONES: list[str] = [p.stem for p in FILES if p.parent.name == 'backbones']
NAMES: list[str] = [
    p.stem for p in FILES if p.stem.split('_')[-1] in AERIAL and p.stem not in BACKBONES
]
# MMDetection's own on COCO but for a hook: the rules of the zoo are not theirs.
MMDETECTIONS: list[str] = [p.stem for p in FILES if p.stem.endswith('_eigen-1x_coco')]
RECIPES: list[str] = [p.stem for p in FILES if p.stem not in (*NAMES, *BACKBONES, *MMDETECTIONS)]

NAME = re.compile(
    r'(?P<algorithm>[a-z0-9-]+)_(?P<backbone>r50|r101|swin-s|effb7)_(?P<neck>fpn|nasfpn)'
    r'_((?P<method>rgn|eigen|scratch-gn|(rgn-)?(frozen|dbf-rho\d+|dbf-milestones)'
    r'|spd|ftp|auto-rgn(-inverse)?|gradual|from-input|budget-(rgn|drift)'
    r'|l2sp|rgn-reg|ewc|dp-ft(-rgn-reg)?|ft-from-dp-rgn-reg|se(-dp-ft)?|adapter|classifier|combined)-)?'
    r'(?P<copy_paste>scp-)?(?P<schedule>1x|\d+e|\d+k)'
    r'_(?P<data>dota|dior|coco|lvis|voc-shift|cityscapes-foggy)(?P<hbb>-hbb)?'
)


def path_of(name: str) -> Path:
    return _PATHS[name]


def part(name: str, key: str) -> Any:
    """One part of a config's name; None for a method that the name leaves out."""
    match = NAME.fullmatch(name)
    assert match, f'{name}: not a name of the zoo'
    return match[key]


# Folders that are not the first word of the methods in them.
FOLDER_OF = {
    'eigen': 'eigenspectrum',
    'scratch-gn': 'eigenspectrum',
    'rgn-reg': 'rgn_reg',
    'dp-ft': 'dp_ft',
    'dp-ft-rgn-reg': 'dp_ft',
    'ft-from-dp-rgn-reg': 'dp_ft',
    **dict.fromkeys(('spd', 'ftp'), 'projection'),
    **dict.fromkeys(('auto-rgn', 'auto-rgn-inverse'), 'learning_rates'),
    **dict.fromkeys(('gradual', 'from-input', 'budget-rgn', 'budget-drift'), 'schedules'),
}


def folder_of(name: str) -> str:
    """The folder that a config belongs into."""
    method = part(name, 'method') or 'baselines'
    return FOLDER_OF.get(method, method.split('-')[0])


@functools.cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def load(name: str) -> Config:
    """A config, as a copy that the caller may change."""
    return copy.deepcopy(_read(path_of(name)))


def chain(path: Path) -> Iterator[tuple[int, str]]:
    """What a file inherits, itself included, as (level, path or reference to a package)."""
    todo = [(1, str(path))]
    while todo:
        level, source = todo.pop()
        yield level, source
        if '::' in source:
            continue
        for node in ast.parse(Path(source).read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
                bases = ast.literal_eval(node.value)
                for base in [bases] if isinstance(bases, str) else bases:
                    inside = '::' not in base
                    base = os.path.normpath(Path(source).parent / base) if inside else base
                    todo.append((level + 1, base))


# -- a config's name from its content ------------------------------------------------------------


def algorithm(cfg: Config) -> str:
    model = cfg.model
    kind = model.type.split('.')[-1]
    if model.get('_scope_') == 'mmdet' or cfg.default_scope == 'mmdet':
        masks = 'mask-' if 'mask_head' in model.get('roi_head', {}) else ''
        return {
            'RetinaNet': 'retinanet',
            'FasterRCNN': 'faster-rcnn',
            'MaskRCNN': 'mask-rcnn',
            'CascadeRCNN': f'cascade-{masks}rcnn',
        }[kind]
    head = model.bbox_head if 'bbox_head' in model else model.roi_head.bbox_head
    if kind == 'CascadeRCNN':
        assert [h.predict_box_type for h in head] == ['rbox', 'rbox']
        return f'roi-trans-{head[0].bbox_coder.angle_version}'
    angle = head.bbox_coder.angle_version
    if kind == 'RetinaNet':
        calculator = model.train_cfg.assigner.iou_calculator.type
        box = {'RBboxOverlaps2D': 'rbox', 'FakeRBboxOverlaps2D': 'hbox'}[calculator]
        return f'rotated-retinanet-{box}-{angle}'
    if kind == 'FCOS':
        assert not head.use_hbbox_loss
        return f'rotated-fcos-{angle}'
    oriented = model.rpn_head.type == 'OrientedRPNHead'
    return f'oriented-rcnn-{angle}' if oriented else f'rotated-faster-rcnn-{angle}'


def original(cfg: Config) -> Any:
    """The config of the backbone, without the blocks that a method adds."""
    net = cfg.model.backbone
    return net.get('backbone', net.get('module', net))  # inside a StageBlockBackbone, a LoRAModel


def backbone(cfg: Config) -> str:
    net = original(cfg)
    kind = net.type.split('.')[-1]
    if kind == 'ResNet':
        return f'r{net.depth}'
    if kind == 'EfficientNet':
        return f'eff{net.arch}'
    if kind in ('ConvNeXt', 'VisionTransformer'):
        return {'tiny': 'convnext-t', 'base': 'vit-b'}[net.arch]
    if kind == 'LSKNet':
        return {(2, 2, 4, 2): 'lsknet-s'}[tuple(net.depths)]
    assert kind == 'SwinTransformer' and net.embed_dims == 96
    return {(2, 2, 6, 2): 'swin-t', (2, 2, 18, 2): 'swin-s'}[tuple(net.depths)]


def freezing(cfg: Config) -> Any:
    """The schedule by which a config freezes; None without one."""
    hooks = [h for h in cfg.get('custom_hooks', []) if h.type == 'FreezingSchedulerHook']
    if not hooks:
        return None
    (hook,) = hooks
    assert hook.target == 'backbone' or set(hook.target) > {'backbone', 'neck', 'rpn_head'}
    return hook.schedule


def regulariser(cfg: Config) -> Any:
    """The hook by which a config holds its backbone back; None without one."""
    hooks = [h for h in cfg.get('custom_hooks', []) if h.type == 'DistortionRegularizerHook']
    if not hooks:
        return None
    (hook,) = hooks
    assert hook.target == 'backbone'
    return hook


EVERY_HOOK = {
    *('FreezingSchedulerHook', 'DistortionRegularizerHook', 'RGNHook', 'DriftHook'),
    *('EigenspectrumHook', 'TrainingCostHook'),
}


def method(cfg: Config) -> str:
    """The method with a dash behind it, or nothing."""
    if original(cfg).init_cfg is None:
        assert cfg.model.backbone.norm_cfg.type == cfg.model.neck.norm_cfg.type == 'GN'
        return 'scratch-gn-'
    kinds = [h.type for h in cfg.get('custom_hooks', [])]
    if set(kinds) == EVERY_HOOK:
        assert freezing(cfg).type == 'ProbeThenFinetune' and regulariser(cfg).importance == 'rgn'
        assert cfg.model.backbone.block == dict(type='SEBlock', init='identity')
        return 'combined-'
    assert ('RGNHook' in kinds) == ('DriftHook' in kinds)
    watched = 'rgn-' if 'RGNHook' in kinds else 'eigen-' if 'EigenspectrumHook' in kinds else ''
    if kinds in (['WeightProjectionHook'], ['RGNLearningRateHook']):
        (hook,) = cfg.custom_hooks
        assert hook.target == 'backbone' and hook.get('by', 'stage') == 'stage'
        return f'{hook.kind}-' if 'kind' in hook else f'auto-rgn{"-inverse" * (hook.sign < 0)}-'
    schedule, held = freezing(cfg), regulariser(cfg)
    if held is not None:
        word = dict(uniform='l2sp', rgn='rgn-reg', ewc='ewc')[held.importance]
        if cfg.load_from is not None:
            word = f'ft-from-dp-{word}'
        if schedule is not None:
            assert schedule.type == 'ProbeThenFinetune'
            word = f'dp-ft-{word}'
        return f'{word}-'
    block = cfg.model.backbone.get('block')
    if block:
        kind = schedule and schedule.type
        assert list(cfg.model.backbone.get('per_stage', {}).items()) == (
            [('reduction', [4, 8, 16, 32])] if block.type == 'SEBlock' else []
        )
        return {
            ('SEBlock', 'identity', None): 'se-',
            ('SEBlock', 'paper', 'ProbeThenFinetune'): 'se-dp-ft-',
            ('ResidualAdapter', None, 'FrozenBackbone'): 'adapter-',
        }[(block.type, block.get('init'), kind)]
    if schedule is None:
        return watched
    if schedule.type == 'ProbeThenFinetune':
        return 'dp-ft-'
    if schedule.type == 'FrozenBackbone':
        (target,) = (h.target for h in cfg.custom_hooks if h.type == 'FreezingSchedulerHook')
        return f'{watched}frozen-' if target == 'backbone' else 'classifier-'
    other = dict(GradualUnfreezing='gradual', FreezeFromInput='from-input')
    other['BudgetedFreezing'] = f'budget-{schedule.get("signal")}'
    if schedule.type in other:
        return f'{other[schedule.type]}-'
    if schedule.type == 'MilestoneFreezing':
        return f'{watched}dbf-milestones-'
    assert schedule.type == 'StepFreezing'
    return f'{watched}dbf-rho{schedule.rho}-'


def copy_paste(cfg: Config) -> str:
    steps = [t.type for t in cfg.train_dataloader.dataset.get('pipeline', [])]
    return 'scp-' if 'CopyPaste' in steps else ''


def schedule(cfg: Config) -> str:
    if 'max_iters' in cfg.train_cfg:
        assert not any(s.get('by_epoch', True) for s in cfg.param_scheduler)
        return f'{cfg.train_cfg.max_iters // 1000}k'
    epochs = cfg.train_cfg.max_epochs
    (steps,) = (s for s in cfg.param_scheduler if s.by_epoch)
    assert steps.type == 'MultiStepLR' and steps.end == epochs
    if epochs == 12 and list(steps.milestones) == [8, 11] and cfg.default_scope == 'mmrotate':
        return '1x'
    return f'{epochs}e'


def horizontal(cfg: Config) -> bool:
    if cfg.default_scope == 'mmdet':
        return True
    boxes = [
        t.box_type_mapping.gt_bboxes
        for t in cfg.train_dataloader.dataset.pipeline
        if t.type == 'ConvertBoxType'
    ]
    assert boxes in (['hbox'], ['rbox'])
    return boxes == ['hbox']


def inner_datasets(dataset: dict) -> list[dict]:
    """The data sets inside all wrappers, as configs."""
    inside = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    return [d for i in inside for d in inner_datasets(i)] or [dataset]


def data(cfg: Config) -> str:
    loaders = [cfg[f'{split}_dataloader'] for split in ('train', 'val', 'test')]
    (kind,) = {d.type for loader in loaders for d in inner_datasets(loader.dataset)}
    return {
        'DOTADataset': 'dota',
        'DIORDataset': 'dior',
        'CocoDataset': 'coco',
        'LVISV1Dataset': 'lvis',
        'VOCDataset': 'voc-shift',
        'CityscapesDataset': 'cityscapes-foggy',
    }[kind]


def name_of(cfg: Config) -> str:
    neck = cfg.model.neck.type.split('.')[-1].lower()
    tail = '-hbb' if horizontal(cfg) and cfg.default_scope == 'mmrotate' else ''
    how = f'{method(cfg)}{copy_paste(cfg)}{schedule(cfg)}'
    return f'{algorithm(cfg)}_{backbone(cfg)}_{neck}_{how}_{data(cfg)}{tail}'


# -- building ------------------------------------------------------------------------------------


def offline(cfg: Config) -> Config:
    """Takes the pretrained reference out: fetching it needs a network."""
    original(cfg).init_cfg = None
    return cfg


# Methods that change the model; all others are hooks beside the same one.
_OF_THE_MODEL = ('se', 'se-dp-ft', 'adapter', 'combined', 'scratch-gn')


def groups(names: list[str]) -> dict[str, list[str]]:
    """Names of configs with the same model and optimizer, as they say, by the first of each."""
    found: dict[tuple, list[str]] = {}
    for name in names:
        parts = NAME.fullmatch(name)
        method = parts['method'] if parts['method'] in _OF_THE_MODEL else None
        key = parts.group('algorithm', 'backbone', 'neck', 'data', 'hbb')
        found.setdefault((*key, method), []).append(name)
    return {names[0]: names for names in found.values()}


def build(registry, cfg: Any, scope: str = 'mmrotate') -> Any:
    """Builds as a runner does, under the config's own default scope."""
    init_default_scope(scope)
    assert DefaultScope.get_current_instance().scope_name == scope
    return registry.build(cfg)


def build_model(cfg: Config):
    return build(MODELS, offline(cfg).model, cfg.default_scope)


def build_dataset(cfg: Config, split: str, root: Path):
    """The config's own data set, read from another place and otherwise untouched."""
    settings = cfg[f'{split}_dataloader'].dataset.copy()
    settings.data_root = f'{root}/'
    return build(DATASETS, settings, cfg.default_scope)
