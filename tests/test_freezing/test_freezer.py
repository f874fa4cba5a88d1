"""The freezer on real backbones: exact, repeatable, undone without a trace."""

import itertools

import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import Freezer, StageMap
from mmbackbone_plugins.freezing.freezer import is_norm, reset_optimizer_state

rig.register_modules()
FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')


def build(backbone=None, mode='eval'):
    model = rig.build(rig.detector(backbone=backbone))
    model.train()
    return model, Freezer(model, StageMap.of(model, 'backbone'), mode)


def modes(model):
    return {n: m.training for n, m in model.named_modules()}


def requires(model):
    return {n: p.requires_grad for n, p in model.named_parameters()}


def test_each_set_of_stages_trains_exactly_its_parameters():
    model, freezer = build()
    for count in range(6):
        for chosen in itertools.combinations(FIVE, count):
            freezer.apply(chosen)
            assert freezer.trainable == set(chosen)
            for name, trains in requires(model).items():
                inside = name.startswith('backbone.')
                stage = freezer.stage_map.stage_of(name) if inside else None
                assert trains == (not inside or stage in chosen), name


def test_apply_says_whether_something_changed():
    _, freezer = build()
    assert not freezer.apply(FIVE)
    assert freezer.apply(())
    assert not freezer.apply(())
    with pytest.raises(KeyError, match='no such stages'):
        freezer.apply(['stage9'])


def test_gradients_are_dropped_not_zeroed():
    model, freezer = build()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    freezer.apply(['stage4'])
    for name, p in model.named_parameters():
        frozen = name.startswith('backbone.') and not name.startswith('backbone.layer4')
        assert (p.grad is None) == frozen, name


@pytest.mark.parametrize('mode', ['eval', 'norm_eval', 'train'])
def test_modes_of_frozen_stages(mode):
    model, freezer = build(rig.swin(), mode)
    freezer.apply(['stage3'])
    freezer.apply_modes()
    for name, module in model.named_modules():
        in_stage = [s.name for s in freezer.stage_map if name in s.modules]
        frozen = bool(in_stage) and in_stage != ['stage3']
        sleeps = frozen and (mode == 'eval' or (mode == 'norm_eval' and is_norm(module)))
        assert module.training != sleeps, name
    drops = [m for n, m in model.named_modules() if 'DropPath' in type(m).__name__]
    assert len(drops) > 4


@pytest.mark.parametrize(
    'backbone',
    [
        rig.resnet(frozen_stages=1),
        dict(rig.resnet(frozen_stages=1), norm_eval=True),
        rig.swin(frozen_stages=1),
        rig.convnext(frozen_stages=1),
    ],
    ids=['resnet', 'resnet-norm-eval', 'swin', 'convnext'],
)
def test_restore_is_exact_and_own_frozen_stages_stay(backbone):
    model, freezer = build(backbone)
    before_requires, before_modes = requires(model), modes(model)
    own = {n for n, r in before_requires.items() if not r}
    assert any(n.startswith('backbone.') for n in own)
    for chosen in (FIVE, (), ('stage4',), ('stem', 'stage1', 'stage2')):
        freezer.apply(chosen)
        # Before train() too, in which these backbones freeze their stages anew by themselves.
        assert not any(p.requires_grad for n, p in model.named_parameters() if n in own)
        model.train()
        freezer.apply_modes()
        assert not any(p.requires_grad for n, p in model.named_parameters() if n in own)
    freezer.restore()
    assert requires(model) == before_requires
    assert modes(model) == before_modes


def test_unfreezing_gives_back_the_modes_of_the_backbone_itself():
    model, freezer = build(dict(rig.resnet(frozen_stages=1), norm_eval=True))
    before = modes(model)
    freezer.apply(())
    freezer.apply_modes()
    assert modes(model) != before
    freezer.apply(FIVE)
    model.train()
    freezer.apply_modes()
    assert modes(model) == before


def test_a_frozen_backbone_builds_no_graph():
    """Unlike detached outputs, whose forward graph exists until it is dropped."""
    model, freezer = build()
    images = torch.rand(1, 3, 64, 64)
    freezer.apply(())
    assert all(out.grad_fn is None for out in model.backbone(images))
    freezer.apply(['stage3'])
    outs = model.backbone(images)
    assert [out.grad_fn is None for out in outs] == [True, True, False, False]


def test_a_single_norm_layer_can_be_the_target():
    model = rig.build(rig.detector())
    freezer = Freezer(model, StageMap.of(model, 'backbone.bn1'))
    freezer.apply(())
    freezer.apply_modes()
    assert not model.backbone.bn1.training and model.backbone.layer1[0].bn1.training


class Drops(nn.Module):
    """Drop-out in the forward of what holds the stages, at two levels. Case 13."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 4, 1), nn.Module()
        self.inner.parts = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)])

    def forward(self, x):
        x = nn.functional.dropout(self.stem(x), training=self.training)
        for part in self.inner.parts:
            x = nn.functional.dropout(part(x), training=self.inner.training)
        return x

    def stage_prefixes(self):
        return [('stem', ['stem']), ('a', ['inner.parts.0']), ('b', ['inner.parts.1'])]


@pytest.mark.parametrize('mode', ['eval', 'norm_eval', 'train'])
def test_what_holds_stages_is_frozen_with_the_last_of_them(mode):
    model = nn.ModuleDict(dict(backbone=Drops(), head=nn.Conv2d(4, 2, 1)))
    freezer = Freezer(model, StageMap.of(model), mode)
    for trainable in ((), ('stem',), ('a',), ('stem', 'a', 'b')):
        freezer.apply(trainable)
        model.train()
        freezer.apply_modes()
        net = model.backbone
        sleeps = mode == 'eval' and not trainable
        assert net.training != sleeps and model.training and model.head.training
        asleep = mode == 'eval' and not {'a', 'b'} & set(trainable)
        assert net.inner.training != asleep and net.inner.parts.training != asleep
    freezer.apply(())
    freezer.apply_modes()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.backbone(x), model.backbone(x)) == (mode == 'eval')
    freezer.restore()
    assert all(m.training for m in model.modules())


def test_added_blocks_train_beside_a_frozen_backbone():
    model, freezer = build(rig.with_blocks(rig.resnet()))
    blocks = [s.name for s in freezer.stage_map if s.is_block]
    freezer.apply(blocks)
    freezer.apply_modes()
    for name, module in model.backbone.named_modules():
        assert module.training == name.startswith('blocks'), name


def test_a_train_of_its_own_is_called_when_stages_freeze():
    """Case 14: MMPretrain's TinyViT makes its attention biases in train(False)."""
    pytest.importorskip('mmpretrain.models')
    arch = dict(channels=[8, 16, 16, 32], depths=[1] * 4, num_heads=[1] * 4, window_sizes=[4] * 4)
    net = rig.build(
        dict(
            type='mmpretrain.TinyViT',
            arch=arch,
            img_size=(64, 64),
            out_indices=(0, 1, 2, 3),
            gap_before_final_norm=False,
        )
    )
    model = nn.ModuleDict(dict(backbone=net))
    freezer = Freezer(model, StageMap.of(model))
    model.train()
    images = torch.rand(2, 3, 64, 64)
    for trainable in ((), freezer.stage_map.names[2:], freezer.stage_map.names, ()):
        freezer.apply(trainable)
        model.train()
        freezer.apply_modes()
        found = net(images)
        asleep = [m for m in net.modules() if hasattr(m, 'attention_biases') and not m.training]
        for module in asleep:
            assert torch.equal(module.ab, module.attention_biases[:, module.attention_bias_idxs])
        with torch.no_grad():
            for p in (p for p in net.parameters() if p.requires_grad):
                p.add_(0.1)  # what training does
    net.train(), net.eval()
    assert all(torch.equal(a, b) for a, b in zip(found, net(images)))


class Branches(nn.Module):
    """More images in train mode than in eval mode, as TridentNet. Case 22."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = [self.stem(x)] * (3 if self.stem.training else 1)
        assert len(x) == (3 if self.last.training else 1)
        return torch.cat([self.last(y) for y in x])


def test_targets_that_return_something_else_in_eval_mode_are_found():
    model = nn.ModuleDict(dict(backbone=Branches()))
    freezer = Freezer(model, StageMap.of(model))
    assert freezer.mode_conflict(('stem', 'last')) is None
    message = "'backbone' (Branches): it returns (2 x 4 x H x W) instead of (6 x 4 x H x W)"
    assert freezer.mode_conflict(()) == message
    assert 'it raises AssertionError' in freezer.mode_conflict(('stem',))
    for mode in ('norm_eval', 'train'):
        assert Freezer(model, StageMap.of(model), mode).mode_conflict(()) is None
    usual, freezer = build(rig.swin())
    assert freezer.mode_conflict(()) is None and freezer.mode_conflict(('stage2',)) is None


def test_the_status_shows_the_modes_of_the_phase():
    """Item 21: the table is printed before the loop calls ``train()`` and modes are applied."""
    model, freezer = build(dict(rig.resnet(), norm_eval=True))
    freezer.apply(['stage4'])
    assert [s.mode for s in freezer.status().stages] == ['eval'] * 4 + ['norm eval']


def test_status_counts():
    model, freezer = build(rig.resnet(frozen_stages=0))
    freezer.apply(['stem', 'stage4'])
    model.train()
    freezer.apply_modes()
    status = freezer.status()
    by_name = {s.stage: s for s in status.stages}
    assert by_name['stem'].trainable == 'kept frozen'
    assert (by_name['stage1'].trainable, by_name['stage1'].mode) == ('no', 'eval')
    assert (by_name['stage4'].trainable, by_name['stage4'].mode) == ('yes', 'train')
    assert status.parameters == sum(p.numel() for p in model.parameters())
    trains = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert status.trainable_parameters == trains
    table = status.table().splitlines()
    assert table[0].split() == ['stage', 'parameters', 'trainable', 'mode']
    assert [line.split()[0] for line in table[1:6]] == list(FIVE)
    assert f'{trains:,}' in table[-1]


def test_norm_eval_of_a_backbone_shows_in_the_status():
    _, freezer = build(dict(rig.resnet(), norm_eval=True))
    assert freezer.status().stages[-1].mode == 'norm eval'


def test_unknown_mode_is_named():
    model = rig.build(rig.detector())
    with pytest.raises(ValueError, match="frozen_mode must be one of 'eval'.*got 'off'"):
        Freezer(model, StageMap.of(model), 'off')


@pytest.mark.parametrize('what', ['momentum', 'all'])
@pytest.mark.parametrize('kind', ['SGD', 'Adam'])
def test_reset_of_optimizer_state(kind, what):
    kept, reset = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    options = dict(momentum=0.9) if kind == 'SGD' else {}
    optimizer = getattr(torch.optim, kind)([kept, reset], lr=0.1, **options)
    (kept.sum() + 2 * reset.sum()).backward()
    optimizer.step()
    reset_optimizer_state([optimizer], [reset], what)
    first = 'momentum_buffer' if kind == 'SGD' else 'exp_avg'
    assert optimizer.state[kept][first].abs().sum() > 0
    if what == 'all':
        assert reset not in optimizer.state
    else:
        assert optimizer.state[reset][first].abs().sum() == 0
        if kind == 'Adam':
            assert optimizer.state[reset]['exp_avg_sq'].abs().sum() > 0
