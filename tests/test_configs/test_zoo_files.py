"""Every config of the zoo is what its name says, and honest about its splits."""

import keyword

import pytest
import zoo
from mmengine.config import Config
from mmengine.registry import METRICS

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')

every = pytest.mark.parametrize('name', zoo.NAMES)
ORIENTED = (
    'rotated-retinanet-rbox-le90',
    'rotated-faster-rcnn-le90',
    'rotated-fcos-le90',
    'oriented-rcnn-le90',
)
HORIZONTAL = ('faster-rcnn', 'retinanet')
LONG = ('rotated-retinanet-rbox-le90', 'oriented-rcnn-le90')
STRONG = (  # on NAS-FPN, with a cascade where there is one
    'rotated-retinanet-rbox-le90',
    'oriented-rcnn-le90',
    'roi-trans-le90',
    'cascade-rcnn',
)


def test_the_zoo_is_complete():
    """Every combination that configs/README.md promises, and nothing else."""
    wanted = set()
    for data in ('dota', 'dior'):
        for detector in (*ORIENTED, *HORIZONTAL):
            tail = f'{data}-hbb' if detector in HORIZONTAL else data
            for method in ('', 'frozen-', 'dbf-rho10-'):
                wanted.add(f'{detector}_r50_fpn_{method}1x_{tail}')
            if detector in (*LONG, *HORIZONTAL):
                for method in ('l2sp-', 'rgn-reg-', 'ewc-', 'dp-ft-', 'dp-ft-rgn-reg-'):
                    wanted.add(f'{detector}_r50_fpn_{method}1x_{tail}')
            if detector in (*LONG, 'faster-rcnn'):
                wanted.add(f'{detector}_r50_fpn_eigen-1x_{tail}')
        for detector in LONG:
            wanted.add(f'{detector}_r50_fpn_dbf-rho5-1x_{data}')
            wanted.add(f'{detector}_r50_fpn_ft-from-dp-rgn-reg-1x_{data}')
            for method in ('rgn-', 'rgn-frozen-', 'rgn-dbf-rho10-'):
                wanted.add(f'{detector}_r50_fpn_{method}1x_{data}')
            for method in ('', 'frozen-', 'dbf-rho10-'):
                wanted.add(f'{detector}_swin-s_fpn_{method}1x_{data}')
            for method in ('', 'frozen-', 'dbf-rho5-', 'dbf-rho10-', 'dbf-rho20-'):
                wanted.add(f'{detector}_r50_fpn_{method}100e_{data}')
            wanted.add(f'{detector}_r50_fpn_dbf-milestones-100e_{data}')
            for method in ('se-', 'se-dp-ft-', 'adapter-'):
                wanted.add(f'{detector}_r50_fpn_{method}1x_{data}')
        wanted.add(f'oriented-rcnn-le90_r50_fpn_combined-1x_{data}')
        for detector, tail in (('oriented-rcnn-le90', data), ('faster-rcnn', f'{data}-hbb')):
            wanted.add(f'{detector}_r50_fpn_scratch-gn-100e_{tail}')
        for detector in STRONG:
            tail = f'{data}-hbb' if detector == 'cascade-rcnn' else data
            for method in ('', 'frozen-', 'dp-ft-', 'dp-ft-rgn-reg-'):
                wanted.add(f'{detector}_r50_nasfpn_{method}1x_{tail}')
        for method in ('100e', 'frozen-100e', 'rgn-reg-1x', 'l2sp-1x', 'ewc-1x'):
            wanted.add(f'oriented-rcnn-le90_r50_nasfpn_{method}_{data}')
    for method in ('se-dp-ft-', 'adapter-'):
        wanted.add(f'oriented-rcnn-le90_swin-s_fpn_{method}1x_dota')
        wanted |= {f'{detector}_r50_fpn_{method}1x_dota-hbb' for detector in HORIZONTAL}
    assert wanted == set(zoo.NAMES)
    assert len(zoo.NAMES) == len(set(zoo.NAMES))  # mim finds a bare name only if it is unique


@every
def test_name_matches_content(name):
    assert zoo.name_of(zoo.load(name)) == name
    assert zoo.path_of(name).parent.name == zoo.folder_of(name)


@every
def test_inherits_from_the_packages_and_not_too_deep(name):
    levels = list(zoo.chain(zoo.path_of(name)))
    own = [(level, source) for level, source in levels if '::' not in source]
    assert max(level for level, _ in own) <= 3
    assert any(source.endswith('methods/custom_imports.py') for _, source in own)
    assert any(source.startswith('mmrotate::') for _, source in levels)


@every
def test_imports_the_package(name):
    cfg = zoo.load(name)
    assert cfg.custom_imports.to_dict() == dict(
        imports=['mmbackbone_plugins'], allow_failed_imports=False
    )
    assert cfg.default_scope == 'mmrotate'


@pytest.mark.parametrize('name', [n for n in zoo.NAMES if 'scratch' not in n])
def test_methods_differ_in_hook_and_blocks_alone(name):
    """A comparison is one of methods only if all else is equal: data, rates, seed, checkpoints."""
    cfg = zoo.load(name)
    cfg.model.backbone = zoo.original(cfg)
    cfg = cfg.to_dict()
    method = zoo.part(name, 'method')
    baseline = zoo.load(name.replace(f'_{method}-', '_') if method else name).to_dict()
    assert 'custom_hooks' not in baseline
    cfg.pop('custom_hooks', None)
    if 'from-dp' in name:  # the second of two runs starts from the first
        probed = name.replace('ft-from-dp-rgn-reg', 'frozen')
        assert probed in zoo.NAMES
        assert cfg['load_from'] == f'work_dirs/{probed}/epoch_{cfg["train_cfg"]["max_epochs"]}.pth'
        cfg['load_from'] = None
    assert cfg == baseline


@pytest.mark.parametrize('data', ['dota', 'dior'])
def test_scratch_differs_in_weights_norms_and_nothing_else(data):
    name = f'oriented-rcnn-le90_r50_fpn_100e_{data}'
    cfg, baseline = zoo.load(name.replace('100e', 'scratch-gn-100e')), zoo.load(name)
    assert cfg.optim_wrapper.pop('paramwise_cfg') == dict(norm_decay_mult=0.0)
    group_norm = dict(type='GN', num_groups=32, requires_grad=True)
    assert cfg.model.neck.pop('norm_cfg') == group_norm
    changed = dict(
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
        norm_cfg=group_norm,
        init_cfg=None,
    )
    assert cfg.model.backbone.to_dict() == {**baseline.model.backbone.to_dict(), **changed}
    cfg.model.backbone = baseline.model.backbone
    assert cfg.to_dict() == baseline.to_dict()


@pytest.mark.parametrize('name', zoo.MMDETECTIONS)
def test_coco_configs_are_mmdetections_with_the_hook(name, tmp_path):
    cfg = zoo.load(name).to_dict()
    algorithm = name.split('_')[0]
    assert name == f'{algorithm}_r50_fpn_eigen-1x_coco'
    reference = f'mmdet::{algorithm.replace("-", "_")}/{algorithm}_r50_fpn_1x_coco.py'
    (tmp_path / 'theirs.py').write_text(f'_base_ = {reference!r}\n')
    assert [h['type'] for h in cfg.pop('custom_hooks')] == ['EigenspectrumHook']
    assert cfg.pop('custom_imports')['imports'] == ['mmbackbone_plugins']
    assert cfg == Config.fromfile(tmp_path / 'theirs.py').to_dict()


@every
def test_splits_are_disjoint(name):
    cfg = zoo.load(name)
    train, val, test = (cfg[f'{s}_dataloader'].dataset for s in ('train', 'val', 'test'))
    assert all(split.data_root == cfg.data_root for split in (train, val, test))
    assert 'ConcatDataset' not in (train.type, val.type)
    lists = [split.ann_file for split in (train, val, test)]
    images = [split.data_prefix.img_path for split in (train, val, test)]
    if zoo.data(cfg) == 'dota':
        assert lists == ['train/annfiles/', 'val/annfiles/', '']
        assert images == ['train/images/', 'val/images/', 'test/images/']
    else:
        assert lists == [f'ImageSets/Main/{s}.txt' for s in ('train', 'val', 'test')]
        assert images == ['JPEGImages-trainval', 'JPEGImages-trainval', 'JPEGImages-test']
    assert val.test_mode and test.test_mode


@every
def test_validation_chooses_the_checkpoint(name):
    cfg = zoo.load(name)
    metric = zoo.build(METRICS, cfg.val_evaluator.copy(), cfg.default_scope)
    checkpoint = cfg.default_hooks.checkpoint
    assert checkpoint.save_best == f'{metric.default_prefix}/mAP'
    assert checkpoint.rule == 'greater' and checkpoint.max_keep_ckpts <= 3
    assert cfg.train_cfg.val_interval == 1
    assert zoo.horizontal(cfg) == (metric.default_prefix == 'pascal_voc')


@every
def test_testing_without_labels_asks_for_none(name):
    cfg = zoo.load(name)
    steps = [t.type.split('.')[-1] for t in cfg.test_dataloader.dataset.pipeline]
    if zoo.data(cfg) == 'dior':
        assert 'LoadAnnotations' in steps
        assert cfg.test_evaluator.to_dict() == cfg.val_evaluator.to_dict()
    else:
        assert steps == ['LoadImageFromFile', 'Resize', 'PackDetInputs']
        if zoo.horizontal(cfg):
            assert cfg.test_evaluator.type == 'mmdet.DumpDetResults'
        else:
            evaluator = cfg.test_evaluator
            assert evaluator.format_only and evaluator.merge_patches and evaluator.outfile_prefix


@every
def test_pretrained_weights_are_named(name):
    reference = zoo.original(zoo.load(name)).init_cfg
    if zoo.part(name, 'method') == 'scratch-gn':
        assert reference is None
        return
    assert reference.type == 'Pretrained'
    if zoo.part(name, 'backbone') == 'r50':
        assert reference.checkpoint == 'torchvision://resnet50'
    else:
        assert reference.checkpoint.endswith('/swin_small_patch4_window7_224.pth')


@every
def test_dumped_config_is_the_same_config(name, tmp_path):
    cfg = zoo.load(name)
    # Laying the text out takes a second and changes no value: baselines stand for the rest.
    lay_out = zoo.part(name, 'method') is None
    Config(cfg.to_dict(), format_python_code=lay_out).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


@every
def test_no_helper_variable_is_left_over(name):
    """A variable of a fragment becomes a key of the config: only those of the bases may."""
    known = set(
        'auto_scale_lr backend_args file_client_args custom_hooks custom_imports data_root '
        'dataset_type default_hooks default_scope env_cfg load_from log_level log_processor model '
        'optim_wrapper param_scheduler randomness resume test_cfg test_dataloader test_evaluator '
        'test_pipeline train_cfg train_dataloader train_pipeline val_cfg val_dataloader '
        'val_evaluator val_pipeline vis_backends visualizer'.split()
    )
    keys = set(zoo.load(name).keys())
    assert keys <= known
    assert not any(keyword.iskeyword(key) for key in keys)
