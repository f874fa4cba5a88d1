"""Every parameter is in exactly one stage, in the order of the forward pass."""

import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import Stage, StageMap, stage_rule, stages

rig.register_modules()
MODELS_OF = {
    'resnet18': rig.resnet(),
    'resnext': dict(type='mmdet.ResNeXt', depth=50, groups=4, base_width=4, base_channels=16),
    'res2net': dict(type='mmdet.Res2Net', depth=50, scales=4, base_width=6, base_channels=16),
    'resnetv1d': dict(type='mmdet.ResNetV1d', depth=50, base_channels=16),
    'regnet': dict(type='mmdet.RegNet', arch='regnetx_400mf'),
    'swin': rig.swin(),
    'swin-abs-pos': rig.swin(use_abs_pos_embed=True, pretrain_img_size=64),
    'convnext': rig.convnext(),
    'mobilenet': dict(type='mmdet.MobileNetV2'),
    'cspnext': dict(type='mmdet.CSPNeXt', deepen_factor=0.33, widen_factor=0.25),
    'pvt': dict(type='mmdet.PyramidVisionTransformer', num_layers=[1, 1, 1, 1]),
    'fpn': dict(type='mmdet.FPN', in_channels=[8, 8, 8], out_channels=8, num_outs=4),
}
FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')
EXPECTED = {
    'resnet18': FIVE,
    'resnext': FIVE,
    'res2net': FIVE,
    'resnetv1d': FIVE,
    'regnet': FIVE,
    'swin': FIVE,
    'swin-abs-pos': FIVE,
    'convnext': FIVE,
    'mobilenet': ('stem', *(f'stage{i}' for i in range(1, 8))),
    'cspnext': FIVE,
    'pvt': tuple(f'layers.{i}' for i in range(4)),
    'fpn': (*(f'lateral_convs.{i}' for i in range(3)), *(f'fpn_convs.{i}' for i in range(3))),
}


def build(name: str) -> nn.Module:
    if name == 'convnext':
        import mmpretrain.models  # noqa: F401
    return rig.build(MODELS_OF[name])


@pytest.mark.parametrize('name', MODELS_OF)
def test_every_parameter_is_in_exactly_one_stage(name):
    module = build(name)
    stage_map = StageMap.of(module, '')
    held = [p for stage in stage_map for p in stage.parameters]
    assert sorted(held) == sorted(n for n, _ in module.named_parameters())
    assert len(set(held)) == len(held)
    expected = tuple(n for n in EXPECTED[name] if n != 'fpn_convs.3')
    assert stage_map.names[: len(expected)] == expected
    modules = [m for stage in stage_map for m in stage.modules]
    assert len(set(modules)) == len(modules)


@pytest.mark.parametrize('name', ['resnet18', 'resnext', 'swin', 'convnext', 'cspnext', 'pvt'])
def test_stages_are_in_the_order_of_the_forward_pass(name):
    """Hooks on the leaves see the stages one after the other, never back."""
    module = build(name)
    module.eval()  # returns None in mmdet's ResNet
    stage_map = StageMap.of(module, '')
    stage_of = {m: s.name for s in stage_map for m in s.modules}
    seen = []
    for path, sub in module.named_modules():
        # Output norms of Swin and ConvNeXt run after their stage, but beside the next one.
        if path in stage_of and not list(sub.children()) and not path.startswith('norm'):
            sub.register_forward_hook(lambda *_, stage=stage_of[path]: seen.append(stage))
    module(torch.zeros(1, 3, 64, 64))
    order = [s for s, before in zip(seen, [None, *seen]) if s != before]
    assert order == [n for n in stage_map.names if n in order]
    assert len(order) >= 4


@pytest.mark.parametrize('name', ['resnet18', 'swin'])
@pytest.mark.parametrize('frozen', [0, 1, 3])
def test_numbers_mean_what_frozen_stages_means(name, frozen):
    """``frozen_stages=n`` of MMDetection freezes the stem and ``stage1`` to ``stage<n>``."""
    module = rig.build(dict(MODELS_OF[name], frozen_stages=frozen))
    module.train()
    stage_map = StageMap.of(module, '')
    trains = {stage_map.stage_of(n) for n, p in module.named_parameters() if p.requires_grad}
    assert trains == set(FIVE[frozen + 1 :])


def test_several_targets_and_nested_paths():
    model = rig.build(rig.detector())
    wrapped = nn.ModuleDict(dict(student=model))
    both = StageMap.of(wrapped, ['student.backbone', 'student.neck'])
    assert both.names[:5] == tuple(f'student.backbone.{n}' for n in FIVE)
    expected = [n for n, _ in wrapped.named_parameters() if '.backbone.' in n or '.neck.' in n]
    assert sorted(both.parameters) == sorted(expected)
    assert all(both.stage_of(n).startswith('student.neck') == ('.neck.' in n) for n in expected)


def test_wrappers_around_one_module_are_looked_through():
    inner = rig.build(rig.resnet())
    assert StageMap.of(nn.ModuleDict(dict(timm_model=inner)), '').names == FIVE


def test_a_leaf_and_a_bare_parameter_are_one_stage():
    stage_map = StageMap.of(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), '0')
    assert [(s.name, s.modules) for s in stage_map] == [('all', ('0',))]


def test_parameters_that_no_prefix_names_join_a_neighbour():
    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))
            self.embed = nn.Linear(2, 2)
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    stage_map = StageMap.of(Vit(), '')
    assert stage_map.names == ('embed', 'layers.0', 'layers.1')
    assert stage_map.stage_of('token') == 'embed'


def test_numbered_blocks_as_in_lsknet():
    parts = {}
    for i in (1, 2):
        parts[f'patch_embed{i}'] = nn.Conv2d(3, 3, 1)
        parts[f'block{i}'] = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
        parts[f'norm{i}'] = nn.LayerNorm(3)
    stage_map = StageMap.of(nn.ModuleDict(parts), '')
    assert [(s.name, len(s.parameters)) for s in stage_map] == [('stage1', 8), ('stage2', 8)]


def test_shared_parameters_are_counted_once():
    layer = nn.Linear(2, 2)
    model = nn.ModuleDict(dict(a=layer, b=nn.Sequential(layer, nn.Linear(2, 2))))
    stage_map = StageMap.of(model, '')
    assert sorted(stage_map.parameters) == sorted(n for n, _ in model.named_parameters())


def test_a_new_family_is_one_rule():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.Linear(2, 2), nn.Linear(2, 2)

    @stage_rule
    def odd(module):
        return [('first', ['early']), ('last', ['late'])] if isinstance(module, Odd) else None

    try:
        assert StageMap.of(Odd(), '').names == ('first', 'last')
    finally:
        stages._RULES.remove(odd)
    assert StageMap.of(Odd(), '').names == ('late', 'early')


def test_a_module_can_describe_itself():
    class Own(nn.Sequential):
        def stage_prefixes(self):
            return [('half', ['0']), ('other', ['1'])]

    assert StageMap.of(Own(nn.Linear(2, 2), nn.Linear(2, 2)), '').names == ('half', 'other')


@pytest.mark.parametrize(
    'target, words',
    [
        ('backbon', ["'backbon'", 'RetinaNet', 'nearest: backbone']),
        ('backbone.layer9', ["'backbone'", "'layer9'", 'layer4']),
        ('data_preprocessor', ['data_preprocessor', 'no parameters']),
        ([], ['empty']),
        (['backbone', 'backbone.layer1'], ['overlap', 'backbone.layer1']),
        (['neck', 'neck'], ['overlap']),
    ],
)
def test_bad_targets_are_named(target, words):
    model = rig.build(rig.detector())
    with pytest.raises(ValueError) as error:
        StageMap.of(model, target)
    assert all(word in str(error.value) for word in words), error.value


def test_two_stages_cannot_share_a_parameter():
    with pytest.raises(ValueError, match='in two stages'):
        StageMap([Stage('a', ('w',), ()), Stage('b', ('w',), ())])
