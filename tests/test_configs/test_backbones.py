"""Oriented R-CNN on other backbones: each config is what its name says, builds, and steps."""

import math
import re

import pytest
import stepping
import zoo
from mmengine.registry import MODELS
from torch import nn

from mmbackbone_plugins import StageMap

NAME = re.compile(
    r'oriented-rcnn-le90_(?P<net>[a-z]+-[a-z])_(fpn|sfp)_((?P<method>[a-z]+)-)?1x_(?P<data>dota|dior)'
)
CHANNELS = [8, 16, 24, 32]


class StandIn(nn.Module):
    """LSKNet's children and outputs, where no fork of MMRotate is installed."""

    def __init__(self, embed_dims, depths, norm_cfg, **options):
        super().__init__()
        before = 3
        for i, width in enumerate(embed_dims, start=1):
            stride = 4 if i == 1 else 2
            setattr(self, f'patch_embed{i}', nn.Conv2d(before, width, 3, stride, padding=1))
            setattr(self, f'block{i}', nn.ModuleList([nn.Conv2d(width, width, 1)]))
            setattr(self, f'norm{i}', nn.GroupNorm(1, width))
            before = width

    def forward(self, x):
        outs = []
        for i in range(1, 5):
            x = getattr(self, f'patch_embed{i}')(x)
            for block in getattr(self, f'block{i}'):
                x = block(x)
            x = getattr(self, f'norm{i}')(x)
            outs.append(x)
        return outs


def small(cfg):
    """Narrow and shallow in place, and offline; types and structure stay."""
    net = zoo.original(zoo.offline(cfg))
    kind = net.type.split('.')[-1]
    if kind == 'VisionTransformer':
        sizes = dict(embed_dims=32, num_layers=4, num_heads=4, feedforward_channels=32)
        net.update(arch=sizes, img_size=64)
        cfg.model.neck.in_channels = 32
        return cfg
    if kind == 'SwinTransformer':
        net.update(embed_dims=8, depths=(1,) * 4, num_heads=(1, 1, 2, 2), window_size=4)
    elif kind == 'ConvNeXt':
        net.update(arch=dict(depths=[1] * 4, channels=CHANNELS))
    elif MODELS.get('LSKNet') is None:
        net.type = StandIn
        net.update(embed_dims=CHANNELS)
    widths = [8, 16, 32, 64] if kind == 'SwinTransformer' else CHANNELS
    cfg.model.neck.in_channels = widths
    return cfg


@pytest.mark.parametrize('name', zoo.BACKBONES)
def test_name_matches_content(name):
    cfg, parts = zoo.load(name), NAME.fullmatch(name)
    assert zoo.backbone(cfg) == parts['net'] and zoo.data(cfg) == parts['data']
    assert zoo.schedule(cfg) == '1x' and zoo.algorithm(cfg) == 'oriented-rcnn-le90'
    assert max(level for level, _ in zoo.chain(zoo.path_of(name))) <= 4  # mmrotate's is one of them
    imports = cfg.custom_imports.imports
    assert imports[-1] == 'mmbackbone_plugins' and not cfg.custom_imports.allow_failed_imports
    assert ('mmpretrain.models' in imports) == zoo.original(cfg).type.startswith('mmpretrain')
    net = cfg.model.backbone
    added = net.block.type if 'block' in net else net.type.partition('LoRA')[1] or None
    wanted = dict(mona='Mona', adapter='ResidualAdapter', lora='LoRA')
    assert added == wanted.get(parts['method'])
    assert (zoo.freezing(cfg) is None) == (parts['method'] is None)
    assert zoo.original(cfg).init_cfg.type == 'Pretrained'
    # Beside the hook and what is added, it is full fine-tuning.
    full = zoo.load(name.replace(f'_{parts["method"]}-', '_'))
    cfg.model.backbone = zoo.original(cfg)
    cfg.pop('custom_hooks', None)
    assert cfg.to_dict() == full.to_dict()


@pytest.mark.parametrize('name', zoo.BACKBONES)
def test_two_steps(name, toy_root, tmp_path):
    """On both data sets; what is frozen does not move by a bit, and what is added trains."""
    parts = NAME.fullmatch(name)
    if parts['method'] == 'mona' and MODELS.get('Mona') is None:
        pytest.skip('Mona is not registered')
    if 'mmpretrain' in str(zoo.load(name).model.backbone):
        pytest.importorskip('mmpretrain.models')
    cfg = small(zoo.load(name))
    stepping.shrink(cfg, toy_root[parts['data']], tmp_path)
    cfg.model.backbone.pop('init_cfg', None)
    watch = stepping.train(cfg, epochs=1)
    assert all(math.isfinite(v) for v in watch.losses[0].values())
    moved = set(watch.moved(0))
    assert any(k.startswith('neck.') for k in moved)
    inside = {k for k in moved if k.startswith('backbone.')}
    if parts['method'] in (None, 'frozen'):
        assert bool(inside) == (parts['method'] is None)
    else:  # LoRA's model says no more of itself than what it adds
        assert inside and all(re.search(r'\.lora_|blocks\.stage|mona', k) for k in inside)


@pytest.mark.parametrize('net', ['swin-t', 'convnext-t', 'vit-b', 'lsknet-s'])
def test_every_parameter_is_in_a_stage(net):
    neck = 'sfp' if net == 'vit-b' else 'fpn'
    cfg = small(zoo.load(f'oriented-rcnn-le90_{net}_{neck}_frozen-1x_dota'))
    if 'mmpretrain' in str(cfg.model.backbone):
        pytest.importorskip('mmpretrain.models')
    backbone = zoo.build(MODELS, cfg.model.backbone, cfg.default_scope)
    stages = [p for s in StageMap.of(backbone, '') for p in s.parameters]
    assert sorted(stages) == sorted(n for n, _ in backbone.named_parameters())
