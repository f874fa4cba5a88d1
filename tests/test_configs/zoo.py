"""What the tests of the zoo share: its files, and a description of a config from its content."""

import ast
import copy
import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FOLDERS = ('baselines', 'frozen', 'dbf', 'rgn', 'eigenspectrum')
# By method; else its first word.
FOLDER_OF = {None: 'baselines', 'eigen': 'eigenspectrum', 'scratch-gn': 'eigenspectrum'}
EVERY_FILE: list[Path] = sorted(p for f in FOLDERS for p in (CONFIGS / f).glob('*.py'))
# Those on COCO are MMDetection's but for the hook: the rules of the zoo are not theirs.
COCO_FILES: list[Path] = [p for p in EVERY_FILE if p.stem.endswith('_coco')]
FILES: list[Path] = [p for p in EVERY_FILE if p not in COCO_FILES]
NAMES: list[str] = [p.stem for p in FILES]

NAME = re.compile(
    r'(?P<algorithm>[a-z0-9-]+)_(?P<backbone>r50|swin-s)_(?P<neck>fpn)'
    r'_((?P<method>rgn|eigen|scratch-gn|(rgn-)?(frozen|dbf-rho\d+|dbf-milestones))-)?'
    r'(?P<schedule>1x|\d+e)'
    r'_(?P<data>dota|dior)(?P<hbb>-hbb)?'
)


def path_of(name: str) -> Path:
    return FILES[NAMES.index(name)]


def part(name: str, key: str) -> Any:
    """One part of a config's name; None for a method that the name leaves out."""
    match = NAME.fullmatch(name)
    assert match, f'{name}: not a name of the zoo'
    return match[key]


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
    if model.get('_scope_') == 'mmdet':
        return {'RetinaNet': 'retinanet', 'FasterRCNN': 'faster-rcnn'}[kind]
    head = model.bbox_head if 'bbox_head' in model else model.roi_head.bbox_head
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


def backbone(cfg: Config) -> str:
    net = cfg.model.backbone
    kind = net.type.split('.')[-1]
    if kind == 'ResNet':
        return f'r{net.depth}'
    assert kind == 'SwinTransformer' and net.embed_dims == 96
    return {(2, 2, 6, 2): 'swin-t', (2, 2, 18, 2): 'swin-s'}[tuple(net.depths)]


def freezing(cfg: Config) -> Any:
    """The schedule by which a config freezes; None without one."""
    hooks = [h for h in cfg.get('custom_hooks', []) if h.type == 'FreezingSchedulerHook']
    if not hooks:
        return None
    (hook,) = hooks
    assert hook.target == 'backbone'
    return hook.schedule


def method(cfg: Config) -> str:
    """The method with a dash behind it, or nothing."""
    if cfg.model.backbone.init_cfg is None:
        assert cfg.model.backbone.norm_cfg.type == cfg.model.neck.norm_cfg.type == 'GN'
        return 'scratch-gn-'
    kinds = [h.type for h in cfg.get('custom_hooks', [])]
    assert ('RGNHook' in kinds) == ('DriftHook' in kinds)
    watched = 'rgn-' if 'RGNHook' in kinds else ''
    watched += 'eigen-' if 'EigenspectrumHook' in kinds else ''
    schedule = freezing(cfg)
    if schedule is None:
        return watched
    if schedule.type == 'FrozenBackbone':
        return f'{watched}frozen-'
    if schedule.type == 'MilestoneFreezing':
        return f'{watched}dbf-milestones-'
    assert schedule.type == 'StepFreezing'
    return f'{watched}dbf-rho{schedule.rho}-'


def schedule(cfg: Config) -> str:
    epochs = cfg.train_cfg.max_epochs
    (steps,) = (s for s in cfg.param_scheduler if s.by_epoch)
    assert steps.type == 'MultiStepLR' and steps.end == epochs
    if epochs == 12 and list(steps.milestones) == [8, 11]:
        return '1x'
    return f'{epochs}e'


def horizontal(cfg: Config) -> bool:
    boxes = [
        t.box_type_mapping.gt_bboxes
        for t in cfg.train_dataloader.dataset.pipeline
        if t.type == 'ConvertBoxType'
    ]
    assert boxes in (['hbox'], ['rbox'])
    return boxes == ['hbox']


def data(cfg: Config) -> str:
    kinds = {cfg[f'{split}_dataloader'].dataset.type for split in ('train', 'val', 'test')}
    (kind,) = kinds
    return {'DOTADataset': 'dota', 'DIORDataset': 'dior'}[kind]


def name_of(cfg: Config) -> str:
    neck = cfg.model.neck.type.split('.')[-1].lower()
    tail = '-hbb' if horizontal(cfg) else ''
    return f'{algorithm(cfg)}_{backbone(cfg)}_{neck}_{method(cfg)}{schedule(cfg)}_{data(cfg)}{tail}'


# -- building ------------------------------------------------------------------------------------


def offline(cfg: Config) -> Config:
    """Takes the pretrained reference out: fetching it needs a network."""
    cfg.model.backbone.init_cfg = None
    return cfg


@functools.cache
def _key(name: str) -> str:
    cfg = offline(load(name))
    return json.dumps([cfg.model.to_dict(), cfg.optim_wrapper.to_dict()], sort_keys=True)


def groups() -> dict[str, list[str]]:
    """Names of configs with equal model and optimizer, by the first name of each group."""
    found: dict[str, list[str]] = {}
    for name in NAMES:
        found.setdefault(_key(name), []).append(name)
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
