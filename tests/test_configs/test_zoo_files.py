"""Every config of the zoo is what its name says, and honest about its splits."""

import pytest
import zoo
from mmengine.config import Config
from mmengine.registry import METRICS

from mmbackbone_plugins import build_schedule

pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')


@pytest.mark.parametrize('name', zoo.NAMES)
def test_config(name, tmp_path):
    """One test a config, for reading it takes longer than all that is asked of it."""
    cfg = zoo.load(name)
    assert zoo.name_of(cfg) == name
    assert zoo.path_of(name).parent.name == zoo.folder_of(name)
    inherits_from_the_packages_and_not_too_deep(name)
    imports_the_package(cfg)
    splits_are_disjoint(cfg)
    validation_chooses_the_checkpoint(cfg)
    no_labels_are_asked_for_where_there_are_none(cfg)
    pretrained_weights_are_named(name, cfg)
    no_helper_variable_is_left_over(cfg)
    learning_rates_are_those_of_the_stack(name, cfg)
    if zoo.freezing(cfg) is not None:
        epochs_that_train(name, cfg)
    dumped_config_is_the_same_config(name, cfg, tmp_path)
    if 'scratch' not in name:
        methods_differ_in_hook_and_blocks_alone(name, cfg)  # changes the config


def inherits_from_the_packages_and_not_too_deep(name):
    levels = list(zoo.chain(zoo.path_of(name)))
    own = [(level, source) for level, source in levels if '::' not in source]
    assert max(level for level, _ in own) <= 4
    assert any(source.endswith('methods/custom_imports.py') for _, source in own)
    assert any(source.startswith('mmrotate::') for _, source in levels)


def imports_the_package(cfg):
    assert cfg.custom_imports.to_dict() == dict(
        imports=['mmbackbone_plugins'], allow_failed_imports=False
    )
    assert cfg.default_scope == 'mmrotate'


def methods_differ_in_hook_and_blocks_alone(name, cfg):
    """A comparison is one of methods only if all else is equal: data, rates, seed, checkpoints."""
    cfg.model.backbone = zoo.original(cfg)
    cfg = cfg.to_dict()
    method = zoo.part(name, 'method')
    baseline = zoo.load(name.replace(f'_{method}-', '_') if method else name).to_dict()
    assert 'custom_hooks' not in baseline
    cfg.pop('custom_hooks', None)
    groups_of_stages(cfg['optim_wrapper'], method)
    if 'from-dp' in name:  # the second of two runs starts from the first
        probed = name.replace('ft-from-dp-rgn-reg', 'frozen')
        assert probed in zoo.NAMES
        assert cfg['load_from'] == f'work_dirs/{probed}/epoch_{cfg["train_cfg"]["max_epochs"]}.pth'
        cfg['load_from'] = None
    assert cfg == baseline


def groups_of_stages(optim_wrapper, method):
    """What two methods need of the optimizer besides, taken out: equal rates and other decay."""
    by_stage = optim_wrapper.pop('constructor', None) == 'StageOptimWrapperConstructor'
    assert by_stage == (method in ('spd', 'auto-rgn', 'auto-rgn-inverse'))
    if method == 'spd':
        assert optim_wrapper.pop('paramwise_cfg') == dict(
            custom_keys=dict(backbone=dict(decay_mult=0.0))
        )


def epochs_that_train(name, cfg):
    schedule = build_schedule(zoo.freezing(cfg))
    if schedule.decides:
        assert schedule.budget == 0.85  # an R50 that never trains: 0.76 to 0.77
        return
    epochs = range(cfg.train_cfg.max_epochs)
    stages = ['stem', 'layer1', 'layer2', 'layer3', 'layer4']
    trained = [e for e in epochs if schedule.trainable(e, 0, stages)]
    method = zoo.part(name, 'method').replace('rgn-', '')
    if method in ('frozen', 'adapter'):
        assert trained == []
        return
    if method in ('gradual', 'from-input'):
        assert trained == list(range(2, 12) if method == 'gradual' else range(10))
        every = [e for e in epochs if {'layer2', 'layer3'} <= schedule.trainable(e, 0, stages)]
        assert every == list(range(6, 12) if method == 'gradual' else range(8))
        return
    if 'dp-ft' in method or method == 'combined':
        assert trained == list(range(6, 12)) and _rates(cfg, trained) == {1.0, 0.1, 0.01}
        return
    if method == 'dbf-milestones':
        assert trained == list(range(1, 100, 20))  # the example of the authors' code
    else:
        rho = int(method[len('dbf-rho') :])
        assert trained == [e for e in epochs if e % rho == 0]
    assert len(trained) > 1, 'a backbone that trains in the first epoch alone shows nothing'
    if cfg.train_cfg.max_epochs == 100:
        assert _rates(cfg, trained) == {1.0, 0.1, 0.01}, 'see schedules/schedule_100e.py'


def _rates(cfg, epochs):
    """The relative learning rates at which the backbone trains."""
    (steps,) = (s for s in cfg.param_scheduler if s.by_epoch)
    return {round(steps.gamma ** sum(e >= m for m in steps.milestones), 6) for e in epochs}


def learning_rates_are_those_of_the_stack(name, cfg):
    """For two images on one GPU; mmdet's own are for sixteen."""
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 2
    assert cfg.auto_scale_lr.enable is False
    optimizer = cfg.optim_wrapper.optimizer
    if zoo.part(name, 'backbone') == 'swin-s':
        assert (optimizer.type, optimizer.lr) == ('AdamW', 1e-4)
        return
    rates = {
        'rotated-retinanet-rbox-le90': 0.0025,
        'rotated-fcos-le90': 0.0025,
        'rotated-faster-rcnn-le90': 0.005,
        'oriented-rcnn-le90': 0.005,
        'roi-trans-le90': 0.005,
        'faster-rcnn': 0.02 * 2 / 16,
        'cascade-rcnn': 0.02 * 2 / 16,
        'retinanet': 0.01 * 2 / 16,
    }
    assert (optimizer.type, optimizer.lr) == ('SGD', rates[zoo.part(name, 'algorithm')])


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
    assert cfg['default_hooks'].pop('random_state') == dict(type='RandomStateHook')
    assert cfg.pop('custom_imports')['imports'] == ['mmbackbone_plugins']
    assert cfg == Config.fromfile(tmp_path / 'theirs.py').to_dict()


def splits_are_disjoint(cfg):
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


def validation_chooses_the_checkpoint(cfg):
    metric = zoo.build(METRICS, cfg.val_evaluator.copy(), cfg.default_scope)
    checkpoint = cfg.default_hooks.checkpoint
    assert checkpoint.save_best == f'{metric.default_prefix}/mAP'
    assert checkpoint.rule == 'greater' and checkpoint.max_keep_ckpts <= 3
    assert cfg.train_cfg.val_interval == 1
    assert zoo.horizontal(cfg) == (metric.default_prefix == 'pascal_voc')


def no_labels_are_asked_for_where_there_are_none(cfg):
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


def pretrained_weights_are_named(name, cfg):
    reference = zoo.original(cfg).init_cfg
    if zoo.part(name, 'method') == 'scratch-gn':
        assert reference is None
        return
    assert reference.type == 'Pretrained'
    if zoo.part(name, 'backbone') == 'r50':
        assert reference.checkpoint == 'torchvision://resnet50'
    else:
        assert reference.checkpoint.endswith('/swin_small_patch4_window7_224.pth')


def dumped_config_is_the_same_config(name, cfg, tmp_path):
    # Laying the text out takes a second and changes no value: baselines stand for the rest.
    lay_out = zoo.part(name, 'method') is None
    Config(cfg.to_dict(), format_python_code=lay_out).dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


def no_helper_variable_is_left_over(cfg):
    """A variable of a fragment becomes a key of the config: only those of the bases may."""
    known = set(
        'auto_scale_lr backend_args file_client_args custom_hooks custom_imports data_root '
        'dataset_type default_hooks default_scope env_cfg load_from log_level log_processor model '
        'optim_wrapper param_scheduler randomness resume test_cfg test_dataloader test_evaluator '
        'test_pipeline train_cfg train_dataloader train_pipeline val_cfg val_dataloader '
        'val_evaluator val_pipeline vis_backends visualizer'.split()
    )
    assert set(cfg.keys()) <= known
