"""Every parameter is in exactly one stage, in the order of the forward pass."""

import copy
import random
import warnings

import numpy as np
import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import Stage, StageMap, stage_rule, stages
from mmbackbone_plugins.distortion.features import output_names

rig.register_modules()
MODELS_OF = {
    **rig.FAMILIES,
    'mobilenet': dict(type='mmdet.MobileNetV2'),
    'cspnext': dict(type='mmdet.CSPNeXt', deepen_factor=0.33, widen_factor=0.25),
    'pvt': dict(type='mmdet.PyramidVisionTransformer', num_layers=[1, 1, 1, 1]),
    'fpn': dict(type='mmdet.FPN', in_channels=[8, 8, 8], out_channels=8, num_outs=4),
}
FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')
EXPECTED = {  # all others have five
    'mobilenet': ('stem', *(f'stage{i}' for i in range(1, 8))),
    'pvt': FIVE[1:],
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
    expected = tuple(n for n in EXPECTED.get(name, FIVE) if n != 'fpn_convs.3')
    assert stage_map.names[: len(expected)] == expected
    modules = [m for stage in stage_map for m in stage.modules]
    assert len(set(modules)) == len(modules)


class Late(nn.Module):
    """Registers its parts in another order than it uses them, and remembers things."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)), nn.ReLU())
        self.gain = nn.Conv2d(4, 4, 1)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5))
        self.unused = nn.Linear(2, 2)
        self.calls, self.last = 0, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.noise = random.random(), np.random.rand(), torch.rand(1)
        x = self.stem(x)
        # A functional use: no module is called.
        x = nn.functional.conv2d(x, self.gain.weight, self.gain.bias)
        self.last = self.body(x).mean((2, 3))
        return self.head(self.last)


# What is not used stays behind what is registered before it.
LATE = ('stem', 'unused', 'gain', 'body', 'head')


def test_the_trace_leaves_no_trace():
    net = Late()
    net(torch.rand(2, 3, 16, 16))  # a tensor with a graph is in it now
    net.stem.eval()
    calls = []

    class Asks:  # of an object with the module in it, as collectors of features are
        def __call__(self, *_):
            calls.append(StageMap.of(net, ''))

    net.body.register_forward_hook(lambda *_: calls.append(1))
    net.stem.register_forward_pre_hook(Asks())
    before = {k: copy.deepcopy(v) for k, v in vars(net).items() if k in ('calls', 'noise')}
    state = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    numbers = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    stage_map = StageMap.of(net, '')
    assert stage_map.names == LATE
    assert random.getstate() == numbers[0] and torch.equal(torch.get_rng_state(), numbers[2])
    assert np.random.get_state()[1].tolist() == numbers[1]
    assert [m.training for m in net.modules()] == modes and not calls
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert {k: vars(net)[k] for k in before} == before and net.last.grad_fn is not None
    assert all(not p.is_meta and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize('how', ['half', 'frozen', 'eval', 'trained', 'copied'])
def test_the_order_does_not_depend_on_the_state(how):
    net = Late()
    if how == 'trained':
        net(torch.rand(2, 3, 16, 16)).sum().backward()
    else:
        net = {
            'half': net.half,
            'frozen': lambda: net.requires_grad_(False),
            'eval': net.eval,
            'copied': lambda: copy.deepcopy(net),
        }[how]()
    assert StageMap.of(net, '').names == LATE


def test_operators_without_a_meta_form_are_traced_on_the_cpu():
    class Reads(Late):
        def forward(self, x):
            return super().forward(x) if x.sum().item() == 0 else x

    assert StageMap.of(Reads(), '').names == LATE


def test_without_a_trace_the_order_is_that_of_registration_and_one_word_is_said():
    class Blind(Late):
        def forward(self, x):
            raise ValueError('no')

    net = Blind()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        maps = [StageMap.of(net, '') for _ in range(3)]
    assert maps[0].names == ('head', 'body', 'gain', 'stem', 'unused')
    [message] = [str(w.message) for w in said]
    assert 'Blind' in message and 'ValueError: no' in message and 'stage_rule' in message


def test_a_family_without_a_rule_is_said_once():
    net = Late()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        for _ in range(3):
            StageMap.of(net, '')
        StageMap.of(rig.build(rig.resnet()), '')
        StageMap.of(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), '')  # has an order
    [message] = [str(w.message) for w in said]
    assert 'Late' in message and ', '.join(LATE) in message and 'stage_rule' in message


class Vit(nn.Module):
    """Blocks of one width behind a patch embedding."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 2))
        self.patch_embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(blocks))
        self.norm = nn.LayerNorm(2)


@pytest.mark.parametrize(
    'blocks, count, sizes',
    [(12, None, [3, 3, 3, 3]), (12, 6, [2] * 6), (12, 5, [3, 2, 3, 2, 2]), (3, None, [1, 1, 1])],
)
def test_blocks_of_a_vit_in_groups(blocks, count, sizes):
    model = nn.ModuleDict(dict(backbone=nn.ModuleDict(dict(inner=Vit(blocks)))))
    for vit_stages in (count, None):  # what was said of a module is kept
        stage_map = StageMap.of(model, vit_stages=vit_stages)
        assert stage_map.names == ('stem', *(f'stage{i + 1}' for i in range(len(sizes))), 'rest')
        groups = [stage_map[f'stage{i + 1}'].parameters for i in range(len(sizes))]
        assert [len(group) // 2 for group in groups] == sizes
        inside = [n for n, _ in model.named_parameters() if '.blocks.' in n]
        assert [n for group in groups for n in group] == inside
    assert stage_map.stage_of('backbone.inner.pos_embed') == 'stem'
    assert stage_map.stage_of('backbone.inner.norm.weight') == 'rest'


@pytest.mark.parametrize(
    'count, backbone, words',
    [
        (5, Vit(4), ['vit_stages', '5', '1 to 4']),
        (0, Vit(4), ['vit_stages', '0', '1 to 4']),
        (True, Vit(4), ['vit_stages', 'True']),
        (4, nn.Linear(1, 1), ['vit_stages=4', 'Linear', 'leave it out']),
        (2, rig.build(rig.swin()), ['vit_stages=2', 'SwinTransformer']),
    ],
)
def test_wrong_numbers_of_groups_are_refused(count, backbone, words):
    with pytest.raises(ValueError) as error:
        StageMap.of(nn.ModuleDict(dict(backbone=backbone)), vit_stages=count)
    assert all(word in str(error.value) for word in words), error.value


NAMED = {
    'resnet': (rig.resnet(out_indices=(1, 3)), ['stage2', 'stage4']),
    'swin': (rig.swin(), list(FIVE[1:])),
    # Index 0 of these is the stem, a block, or a layer between stages.
    'efficientnet': (
        dict(type='mmdet.EfficientNet', arch='b0', out_indices=(0, 3)),
        ['stem', 'stage3'],
    ),
    'cspnext': (dict(MODELS_OF['cspnext'], out_indices=(1, 2, 3)), ['stage1', 'stage2', 'stage3']),
    'mobilenet': (dict(type='mmdet.MobileNetV2'), ['stage2', 'stage3', 'stage5', 'stage7']),
    'fpn': (MODELS_OF['fpn'], [f'out{i}' for i in range(4)]),
}


@pytest.mark.parametrize('name', NAMED)
def test_outputs_are_named_by_the_stage_they_come_from(name):
    config, names = NAMED[name]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert output_names(rig.build(config), len(names)) == names


def test_the_network_beside_something_small_is_divided():
    """A wrapper of a known network with a companion; case 04 with a projection."""
    net = nn.ModuleDict(dict(body=rig.build(rig.resnet()), project=nn.Conv2d(128, 16, 1)))
    assert StageMap.of(net, '').names == (*(f'body.{n}' for n in FIVE), 'project')


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
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))
            self.embed = nn.Linear(2, 2)
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    stage_map = StageMap.of(Tokens(), '')
    assert stage_map.names == ('embed', 'parts.0', 'parts.1')
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


def test_a_child_called_block_is_no_added_block():
    """Case 12: what an added block is, is a fact and not a name."""
    parts = dict(stage1=nn.Conv2d(3, 3, 1), block=nn.Conv2d(3, 3, 1))
    model = nn.ModuleDict(
        dict(backbone=nn.ModuleDict(parts), neck=nn.Sequential(nn.Conv2d(3, 3, 1)))
    )
    stage_map = StageMap.of(model, ['backbone', 'neck'])
    assert 'backbone.block' in stage_map.names
    assert not any(stage.is_block for stage in stage_map)


def test_parameters_of_lora_are_blocks_of_their_stages():
    pytest.importorskip('mmpretrain.models')
    inner = dict(rig.swin(), type='mmdet.SwinTransformer')
    model = rig.build(
        dict(
            type='mmpretrain.LoRAModel',
            module=inner,
            alpha=4,
            rank=2,
            drop_rate=0.5,
            targets=[dict(type='.*qkv')],
        )
    )
    stage_map = StageMap.of(nn.ModuleDict(dict(backbone=model)))
    blocks = {s.name for s in stage_map if s.is_block}
    assert blocks == {f'stage{i}.block' for i in (1, 2, 3, 4)}
    added = {p for b in blocks for p in stage_map[b].parameters}
    assert added == {p for p in stage_map.parameters if '.lora_' in p} and added
    # Its drop-out trains with it; the layer that it wraps stays with its stage.
    assert any(m.endswith('lora_dropout') for m in stage_map['stage3.block'].modules)
    assert any(m.endswith('qkv.original_layer') for m in stage_map['stage3'].modules)
    assert [n for n in stage_map.names if n not in blocks] == list(FIVE)
    names = [n for n in stage_map.names]
    assert names.index('stage3.block') == names.index('stage3') + 1


def test_two_stages_cannot_share_a_parameter():
    with pytest.raises(ValueError, match='in two stages'):
        StageMap([Stage('a', ('w',), ()), Stage('b', ('w',), ())])
