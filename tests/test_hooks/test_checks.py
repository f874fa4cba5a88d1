"""Hooks of a config that cannot be built: one error, before anything else of the config is."""

import pytest
import rig
from mmengine.hooks import Hook
from mmengine.registry import MODELS

from mmbackbone_plugins import FreezingSchedulerHook, OrientedMetric, ResidualAdapter, SEBlock
from mmbackbone_plugins.hooks.checks import check_hooks
from mmbackbone_plugins.metrics import Corruption

STEP = dict(type='StepFreezing', rho=5)


@pytest.mark.parametrize(
    'config, words',
    [
        (dict(custom_hooks=dict(type='RGNHook')), ['custom_hooks must be a list', 'brackets']),
        (dict(custom_hooks='RGNHook'), ['custom_hooks must be a list', "'RGNHook'"]),
        (dict(custom_hooks=['RGNHook']), ['custom_hooks[0] must be a dict', "'RGNHook'"]),
        (dict(custom_hooks=[[dict(type='RGNHook')]]), ['custom_hooks[0] must be a dict']),
        (dict(custom_hooks=[dict(interval=1)]), ['custom_hooks[0] must be a dict', 'interval']),
        (dict(custom_hooks=[None]), ['custom_hooks[0] must be a dict', 'None']),
        (dict(custom_hook=[dict(type='RGNHook')]), ['custom_hook is not read', 'custom_hooks?']),
        (dict(default_hooks=[dict(type='RGNHook')]), ['default_hooks must be a dict']),
        (dict(default_hooks=dict(rgn='RGNHook')), ['default_hooks.rgn must be a dict']),
    ],
)
def test_lists_and_dicts_of_hooks(config, words):
    """Case 20."""
    with pytest.raises(ValueError) as error:
        check_hooks(config)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize('scope', ['mmdet', 'mmengine', None])
@pytest.mark.parametrize(
    'name, near',
    [
        ('FreezeSchedulerHook', 'FreezingSchedulerHook'),
        ('FreezingHook', 'FreezingSchedulerHook'),
        ('mmengine.RGNhook', 'RGNHook'),
        ('DistortionRegulariserHook', 'DistortionRegularizerHook'),
        ('mmbackbone_plugins.DriftHok', 'DriftHook'),
        ('CheckPointHook', 'CheckpointHook'),
    ],
)
def test_a_misspelt_hook_is_answered_with_the_nearest(scope, name, near):
    """Case 20."""
    with pytest.raises(ValueError, match=rf'custom_hooks\[0\]: .*{name}.*; nearest: {near}$'):
        check_hooks(dict(default_scope=scope, custom_hooks=[dict(type=name)]))


@pytest.mark.parametrize(
    'hook, words',
    [
        (dict(schedule='StepFreezing', rho=5), ["schedule=dict(type='StepFreezing', rho=5)"]),
        (dict(schedule=dict(type='StepFreezing'), rho=5), ["(type='StepFreezing', rho=5)"]),
        (dict(schedule=STEP, targt='neck'), ["no argument 'targt'; nearest: target"]),
        (dict(), ["'schedule' is missing", 'it takes schedule, target']),
        (dict(schedule='StepFreezing'), ["dict(type='StepFreezing', rho=10)"]),
        (dict(schedule=dict(type='StepFreezing', roh=5)), ["no argument 'roh'; nearest: rho"]),
        (dict(schedule=[STEP]), ['schedule must be a dict']),
        (dict(schedule=dict(STEP, rho='5')), ['rho must be a positive integer', "'5'"]),
        (dict(schedule=dict(STEP, rho=5.0)), ['rho', '5.0']),
        (dict(schedule=STEP, target=None), ['target', 'None']),
        (dict(schedule=STEP, frozen_mode='evl'), ['frozen_mode', "'eval'", "'evl'"]),
        (dict(schedule=STEP, freeze_blocks='no'), ['freeze_blocks', "'no'"]),
        (dict(schedule=STEP, frozen_forward='half'), ['frozen_forward', "'bf16'", "'half'"]),
        (dict(schedule=STEP, frozen_compile=1), ['frozen_compile', 'True or False', '1']),
    ],
)
def test_arguments_of_the_freezing_hook(hook, words):
    """Case 20."""
    with pytest.raises(ValueError) as error:
        check_hooks(dict(custom_hooks=[dict(type='FreezingSchedulerHook', **hook)]))
    text = str(error.value)
    assert text.startswith('custom_hooks[0]: ') and all(word in text for word in words), text


NUMBERS = ['1', 1.5, -1, None, [1], True, float('nan')]
FLAGS = ['yes', 1, None]
WRONG = {
    'RGNHook': dict(interval=NUMBERS, granularity=['tensors', None, ['tensor']], target=[3, {}]),
    'DistortionRegularizerHook': dict(
        importance=['rng', None, ['rgn'], {}],
        coeff=['0.1', -1, None, [0.1], float('inf'), True],
        num_batches=NUMBERS,
        interval=NUMBERS,
        seed=NUMBERS,
        exclude=[3, [3], None, {}],
        anchor=[3, '', True, ['a.pth']],
        importance_file=[3, '', True],
        target=[3],
    ),
    'DriftHook': dict(
        interval=NUMBERS, num_images=NUMBERS, seed=NUMBERS, offload=FLAGS, target=[None]
    ),
    'EigenspectrumHook': dict(
        interval=NUMBERS,
        num_batches=NUMBERS,
        stride=NUMBERS,
        seed=NUMBERS,
        threshold=['1e-3', 0, -1, None, [1e-3]],
        relative=FLAGS,
        center=FLAGS,
        convolutions=FLAGS,
        foreground=['objects', 1, ['foreground']],
        split=['test', None, ['val']],
        layers=[3, [3], {'a': 1}],
    ),
    'FeatureCacheHook': dict(
        views=[*NUMBERS, 0],
        storage=['memory', 1, ['ram'], True],
        dtype=['float16', None, ['float32']],
        budget_gb=['4', 0, -1, None, True, float('inf')],
        folder=[3, '', True],
        seed=NUMBERS,
    ),
    'TrainingCostHook': dict(interval=NUMBERS, max_shapes=NUMBERS, reset_peak_memory=FLAGS),
}
CASES = [(h, n, v) for h, names in WRONG.items() for n, values in names.items() for v in values]


@pytest.mark.parametrize('hook, name, value', CASES, ids=lambda v: str(v)[:20])
def test_wrong_values_are_named(hook, name, value):
    with pytest.raises(ValueError) as error:
        check_hooks(dict(custom_hooks=[{'type': hook, name: value}]))
    assert name in str(error.value) and repr(value) in str(error.value)


@pytest.mark.parametrize(
    'hook, words',
    [
        (
            dict(type='EigenspectrumHook', threshold=2.0, relative=True),
            '1 .relative., got 2.0',
        ),
        (
            dict(type='DistortionRegularizerHook', importance='uniform', importance_file='x'),
            "importance 'uniform' takes no file",
        ),
        (dict(type='FeatureCacheHook', folder='x'), "folder='x' needs storage='disk', got 'ram'"),
    ],
)
def test_arguments_that_exclude_each_other(hook, words):
    with pytest.raises(ValueError, match=words):
        check_hooks(dict(custom_hooks=[hook]))


def test_right_hooks_pass_and_the_config_is_left_as_it_is():
    class Own(Hook):
        pass

    hooks = [
        dict(type='FreezingSchedulerHook', schedule=STEP, priority='HIGH'),
        dict(type=FreezingSchedulerHook, schedule=STEP, target=('backbone',)),
        dict(type='mmengine.EMAHook'),
        dict(type='mmbackbone_plugins.hooks.RGNHook', interval=1),
        dict(type=Own),
        Own(),
    ]
    config = dict(default_hooks=dict(timer=None), custom_hooks=hooks)
    before = repr(config)
    check_hooks(config)
    check_hooks(dict(config, custom_hooks=tuple(hooks)))
    check_hooks(dict(config, custom_hook=hooks[0]))  # a variable that the list is made of
    check_hooks({})
    assert repr(config) == before


@pytest.mark.parametrize(
    'kind, arguments, words',
    [
        (SEBlock, dict(in_channels=8, reducton=2), 'nearest: reduction'),
        (ResidualAdapter, dict(channels=8), "no argument 'channels'; nearest: in_channels"),
        (ResidualAdapter, dict(), "'in_channels' is missing"),
        (Corruption, dict(corruption='fog', severty=1), 'nearest: severity'),
        (OrientedMetric, dict(eval_mod='area'), 'nearest: eval_mode'),
    ],
)
def test_mistyped_arguments_of_modules(kind, arguments, words):
    with pytest.raises(ValueError, match=words):
        kind(**arguments)
    with pytest.raises(ValueError):
        kind(*arguments.values(), more=1)


def block(**options):
    backbone = dict(rig.resnet(), type='mmdet.ResNet')
    plain = dict(type='StageBlockBackbone', backbone=backbone, block=dict(type='SEBlock'))
    return MODELS.build({**plain, **options})


def widths(**options):
    return MODELS.build({'type': 'WidthResNet', 'depth': 18, 'base_channels': 8, **options})


MODULES = [
    (SEBlock, dict(in_channels=16), dict(init=[[1], {}, None], reduction=['2', 1.5])),
    (ResidualAdapter, dict(in_channels=16), dict(hidden_channels=['2', 0], norm_cfg=['BN', 1])),
    (OrientedMetric, {}, dict(classwise=FLAGS, iou_thrs=['0.5', True, 2], predict_box_type=[[1]])),
    (block, {}, dict(block=['SEBlock', None], stages=['stage1', []], per_stage=[[1], 'x'])),
    (widths, {}, dict(depth=['18', [18]], num_stages=NUMBERS, base_channels=['8', None, 1.5])),
]
OF_MODULES = [(k, g, n, v) for k, g, names in MODULES for n, vs in names.items() for v in vs]


@pytest.mark.parametrize('kind, given, name, value', OF_MODULES, ids=lambda v: str(v)[:20])
def test_wrong_values_of_modules_are_named(kind, given, name, value):
    with pytest.raises(ValueError) as error:
        kind(**{**given, name: value})
    assert name in str(error.value) and repr(value) in str(error.value)


def test_a_misspelt_block():
    with pytest.raises(ValueError, match="'SEBlok' .*; nearest: SEBlock"):
        block(block=dict(type='SEBlok'))
