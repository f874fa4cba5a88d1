"""Each family of backbones, small: its stages, their order, and what freezing them leaves out."""

import itertools
import runpy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import rig
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

from mmbackbone_plugins import FreezePlan, FreezingSchedulerHook, GradualUnfreezing, StageMap
from mmbackbone_plugins.freezing import Freezer

rig.register_modules()
ROOT = Path(__file__).resolve().parents[1]
TOOL = runpy.run_path(str(ROOT / 'tools/misc/list_families.py'))
FAMILIES = TOOL['families']()
PAGE = (ROOT / 'docs/reference/families.md').read_text(encoding='utf-8')


def build(name: str) -> nn.Module:
    if name in AERIAL:
        return StandIn(**AERIAL[name]())
    if not name.startswith('mmdet.'):
        pytest.importorskip('mmpretrain.models')
    if name.startswith('timm.'):
        pytest.importorskip('timm')
    return rig.build(FAMILIES[name])


class StandIn(nn.Module):
    """Has children with the names of a public backbone; goes through some of them in order."""

    def __init__(self, children: dict[str, nn.Module], order: list[str], ends: Any = ()) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.order, self.ends = order, dict(ends)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = []
        for path in self.order:
            x = self.get_submodule(path)(x)
            outputs += [self.get_submodule(n)(x) for n in self.ends.get(path, ())]
        return (*outputs, x)


def conv(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.GroupNorm(1, width), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attn(self.norm1(x))


class Merge(nn.Conv2d):
    """Stands between stages, as DRFD of LEGNet."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 2 * width, 2, stride=2)


WIDTHS = (3, 4, 8, 16, 32)


def numbered() -> dict[str, Any]:
    """LSKNet, StripNet, PKINetV2."""
    children: dict[str, nn.Module] = {}
    order: list[str] = []
    for i in (1, 2, 3, 4):
        children[f'patch_embed{i}'] = conv(WIDTHS[i - 1], WIDTHS[i])
        children[f'block{i}'] = nn.ModuleList(Block(WIDTHS[i]) for _ in range(2))
        children[f'norm{i}'] = nn.GroupNorm(1, WIDTHS[i])
        order += [f'patch_embed{i}', f'block{i}.0', f'block{i}.1', f'norm{i}']
    return dict(children=children, order=order)


class Stage(nn.Sequential):
    pass


def pkinet() -> dict[str, Any]:
    """The stem is a child, and the first of the stages."""
    stem = conv(3, 4)
    stages = [Stage(conv(w, 2 * w), Block(2 * w)) for w in WIDTHS[1:]]
    children = dict(stages=nn.ModuleList([stem, *stages]), stem=stem)
    return dict(children=children, order=[f'stages.{i}' for i in range(5)])


def legnet() -> dict[str, Any]:
    """Layers between the stages, and norms by the numbers of both."""
    pairs = ((nn.Sequential(Block(w)), Merge(w)) for w in WIDTHS[1:])
    stages = nn.Sequential(*list(itertools.chain(*pairs))[:-1])
    norms = {f'norm{2 * i}': nn.BatchNorm2d(w) for i, w in enumerate(WIDTHS[1:])}
    ends = {f'stages.{2 * i}': [f'norm{2 * i}'] for i in range(4)}
    order = ['Stem', *(f'stages.{i}' for i in range(7))]
    return dict(children=dict(Stem=conv(3, 4), stages=stages, **norms), order=order, ends=ends)


def rvsa() -> dict[str, Any]:
    """A ViT with layers that make a pyramid; windows in two of three blocks."""
    blocks = [Block(8) for _ in range(6)]
    for i in (2, 5):
        blocks[i].attn = nn.Sequential(blocks[i].attn)
    children = dict(
        patch_embed=conv(3, 8),
        blocks=nn.ModuleList(blocks),
        norm=nn.GroupNorm(1, 8),
        fpn1=nn.Sequential(nn.ConvTranspose2d(8, 8, 2, 2), nn.GroupNorm(1, 8)),
        fpn2=nn.ConvTranspose2d(8, 8, 2, 2),
        fpn3=nn.Identity(),
        fpn4=nn.MaxPool2d(2),
    )
    order = ['patch_embed', *(f'blocks.{i}' for i in range(6)), 'norm']
    return dict(children=children, order=order, ends=dict(norm=[f'fpn{i}' for i in (1, 2, 3, 4)]))


AERIAL = dict(LSKNet=numbered, PKINet=pkinet, LEGNet=legnet, RVSA=rvsa)
FIVE = ('stem', 'stage1', 'stage2', 'stage3', 'stage4')
NAMES = dict(LSKNet=FIVE[1:], PKINet=FIVE, LEGNet=FIVE, RVSA=(*FIVE, 'rest'))


def images(name: str) -> torch.Tensor:
    size = FAMILIES.get(name, {}).get('img_size', 64)
    size = size if isinstance(size, int) else size[0]
    return torch.rand(2, 3, *[224 if 'window7' in name else size] * 2)


def tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, (list, tuple)):
        return [tensor for item in tree for tensor in tensors(item)]
    return [tree] if isinstance(tree, torch.Tensor) else []


@pytest.mark.parametrize('name', [*FAMILIES, *AERIAL])
def test_stages_of_a_family(name, recwarn):
    """Against hooks on the real module, in a forward pass with its first half frozen."""
    module = build(name)
    stage_map = StageMap.of(module, '')
    assert any('no rule' in str(w.message) for w in recwarn) == (name == 'mmpretrain.XCiT')
    if name in AERIAL:
        assert stage_map.names == NAMES[name]
    else:
        assert TOOL['row'](name, stage_map) in PAGE
    # Every parameter is in exactly one stage.
    held = [p for stage in stage_map for p in stage.parameters]
    assert sorted(held) == sorted(n for n, _ in module.named_parameters())
    # Gradual unfreezing grows from the output.
    plan = FreezePlan(GradualUnfreezing(start=1, every=1), stage_map)
    for epoch in range(len(stage_map) + 1):
        assert plan.trainable(epoch, 0) == set(stage_map.names[len(stage_map) - epoch :])
    freezer = Freezer(module, stage_map)
    module.train()
    half = len(stage_map) // 2
    freezer.apply(plan.trainable(half, 0))
    freezer.apply_modes()
    frozen = stage_map.names[: len(stage_map) - half]
    used, graphs = [], set()
    inside = {name for stage in stage_map for name in stage.modules}
    for path, sub in module.named_modules():
        own = [f'{path}.{n}' for n, _ in sub.named_parameters(recurse=False)]
        # What spans the stages, as tokens and positions of a ViT, is seen in the gradients.
        if own and path in inside:

            def note(stages: list[str], sub: nn.Module, args: Any, output: Any) -> None:
                used.extend(stages)
                if any(tensor.requires_grad for tensor in tensors(output)):
                    graphs.update(stages)

            sub.register_forward_hook(partial(note, [stage_map.stage_of(p) for p in own]))
    outputs = [tensor for tensor in tensors(module(images(name))) if tensor.requires_grad]
    # The pass uses the stages one after the other, and never goes back.
    order = [stage for stage, _ in itertools.groupby(used)]
    assert order == [n for n in stage_map.names if n in order]
    assert len(order) >= 3
    # Frozen ones build no graph, and the others are trained.
    assert not graphs & set(frozen)
    sum(tensor.square().mean() for tensor in outputs).backward()
    trained = {stage_map.stage_of(n) for n, p in module.named_parameters() if p.grad is not None}
    assert trained == set(order) - set(frozen)


@pytest.mark.parametrize('count', [0, 2.0, True, 'four'])
def test_the_hook_takes_a_number_of_stages(count):
    with pytest.raises(ValueError, match='vit_stages must be'):
        FreezingSchedulerHook(dict(type='FullTraining'), vit_stages=count)


@MODELS.register_module(force=True)
class Scored(BaseModel):
    """A backbone, and a number of what it returns that is to be one."""

    def __init__(self, backbone: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.backbone = MODELS.build(backbone)
        self.head = nn.LazyLinear(1)
        self.forward(torch.zeros(2, 3, 64, 64))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'loss') -> Any:
        batch = torch.stack(list(inputs)).float() / 255
        maps = [t for t in tensors(self.backbone(batch)) if t.dim() == 4 and t.shape[1] != 3]
        pooled = torch.cat([feature.mean((2, 3)) for feature in maps], dim=1)
        return dict(loss=(self.head(pooled).tanh() - 0.5).square().mean())


MAPS = dict(out_type='featmap')
TRAINED = {
    'mmpretrain.VisionTransformer': MAPS,
    'mmpretrain.ViTSAM': {},
    'mmpretrain.SwinTransformerV2': {},
    'mmpretrain.EfficientNet': {},
    'mmpretrain.MobileNetV3': {},
    'mmpretrain.MViT': {},
    'mmpretrain.PoolFormer': {},
    'mmdet.PyramidVisionTransformer': {},
    'mmdet.CSPNeXt': {},
    'mmdet.HRNet': {},
    'timm.vit_tiny_patch16_224:features': {},
}


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAINED)
def test_frozen_stages_keep_their_bits_and_a_resumed_run_has_the_same(name, tmp_path):
    pytest.importorskip('timm')
    import mmpretrain.models  # noqa: F401

    model = dict(type='Scored', backbone=dict(FAMILIES[name], **TRAINED[name]))
    schedule = dict(type='GradualUnfreezing', start=1, every=1)
    vit_stages = 2 if 'vit' in name else None
    hook = dict(type='FreezingSchedulerHook', schedule=schedule, vit_stages=vit_stages)
    options = dict(
        hooks=[hook, dict(type='Reseed')],
        model=model,
        length=4,
        default_scope='mmdet',
    )
    states = rig.train(tmp_path / 'whole', epochs=4, **options).states
    stages = StageMap.of(rig.build(model), vit_stages=vit_stages)
    for epoch, (before, after) in enumerate(zip(states, states[1:])):
        changed = set(rig.equal(before, after))
        assert any(n.startswith('head.') for n in changed)
        for place, stage in enumerate(reversed(list(stages))):
            owned = (f'{m}.' for m in stage.modules)
            inside = {*stage.parameters, *(n for n in before if n.startswith(tuple(owned)))}
            assert bool(changed & inside) == (place < epoch), (epoch, stage.name)
    part = rig.train(tmp_path / 'part', epochs=2, **options)
    assert not rig.equal(part.states[-1], states[2])
    resumed = rig.train(tmp_path / 'part', epochs=4, resume=True, **options)
    assert not rig.equal(resumed.states[-1], states[-1])
