"""Blocks in the layers of transformers, and after the stages of other families than ResNets."""

import copy

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmbackbone_plugins import StageMap

rig.register_modules()
ARCH = dict(embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32)
VIT = dict(arch=ARCH, img_size=64, patch_size=16, out_type='featmap')
SWIN = dict(arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]))
SWIN.update(img_size=64, window_size=4, pad_small_map=True, out_indices=(0, 1, 2, 3))
PVT = dict(num_layers=[1, 1, 2, 1], embed_dims=16, num_heads=[1, 2, 2, 2])
CSP = dict(deepen_factor=0.33, widen_factor=0.25)


def timm(model_name, **options):
    return dict(
        type='mmpretrain.TIMMBackbone', model_name=model_name, features_only=True, **options
    )


SMALL = dict(img_size=64, window_size=4, depths=(1, 1, 2, 1))
TRANSFORMERS = {
    'swin': rig.swin(),
    'swin-checkpointing': rig.swin(with_cp=True),
    'mmpretrain-swin': dict(type='mmpretrain.SwinTransformer', **SWIN),
    'swin-v2': dict(
        type='mmpretrain.SwinTransformerV2',
        **{**SWIN, 'arch': dict(SWIN['arch'], extra_norm_every_n_blocks=0)},
    ),
    'vit': dict(type='mmpretrain.VisionTransformer', **VIT),
    'beit': dict(type='mmpretrain.BEiTViT', **VIT),
    'vit-sam': dict(
        type='mmpretrain.ViTSAM',
        arch=dict(ARCH, global_attn_indexes=[1]),
        img_size=64,
        patch_size=16,
        window_size=2,
        out_channels=8,
    ),
    'pvt': dict(type='mmdet.PyramidVisionTransformer', pretrain_img_size=64, **PVT),
    'pvt-v2': dict(type='mmdet.PyramidVisionTransformerV2', **PVT),
    'timm-vit': timm('vit_tiny_patch16_224', img_size=64, depth=4, out_indices=(1, 3)),
    'timm-swin': timm('swin_tiny_patch4_window7_224', **SMALL),
    'timm-swin-v2': timm('swinv2_tiny_window8_256', **SMALL),
}
OTHERS = {
    'efficientnet': dict(type='mmdet.EfficientNet', arch='b0', out_indices=(3, 4, 5)),
    'mmpretrain-efficientnet': dict(
        type='mmpretrain.EfficientNet', arch='es', out_indices=(2, 3, 4)
    ),
    'mmpretrain-regnet': dict(
        type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(0, 1, 2, 3)
    ),
    'csp-darknet': dict(type='mmdet.CSPDarknet', **CSP),
    'cspnext': dict(type='mmdet.CSPNeXt', **CSP),
    'timm-resnet': timm('resnet18', out_indices=(1, 2, 3, 4)),
    'timm-convnext': timm('convnext_atto'),
    'timm-efficientnet': timm('efficientnet_b0'),
}
EVERY = [(name, 'in_blocks') for name in TRANSFORMERS]
EVERY += [(name, 'after_stage') for name in [*TRANSFORMERS, *OTHERS]]


def build(config, seed=0):
    import mmpretrain.models  # noqa: F401

    init_default_scope('mmdet')
    torch.manual_seed(seed)
    return MODELS.build(Config(copy.deepcopy(dict(m=config))).m)


def blocked(name, position, block='Mona', **options):
    config = {**TRANSFORMERS, **OTHERS}[name]
    return build(rig.with_blocks(config, block, **options) | dict(position=position))


def image(height=64, width=64):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def randomize(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize('name, position', EVERY)
def test_every_family(name, position):
    """Bit-equal at the start; blocks are stages of their own, in the path, with a gradient."""
    plain = build({**TRANSFORMERS, **OTHERS}[name])
    other = blocked(name, position, init='identity')
    missing, unexpected = other.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {k for k in missing if k.startswith('blocks.')} == {
        k for k in other.state_dict() if k.startswith('blocks.')
    }
    plain.eval(), other.eval()
    before = plain(image())
    assert all(torch.equal(a, b) for a, b in zip(before, other(image())))

    stages, of_plain = StageMap.of(other, ''), StageMap.of(plain, '')
    added = [s for s in stages if s.is_block]
    assert [s for s in stages if not s.is_block] == list(of_plain)
    assert 3 <= len(added) == len(other.blocks)
    assert {s.name.removesuffix('.block') for s in added} <= set(of_plain.names)
    assert {p for s in added for p in s.parameters} == {
        n for n, _ in other.named_parameters() if n.startswith('blocks.')
    }

    randomize(other.blocks)
    for name, parameter in other.named_parameters():
        parameter.requires_grad_(name.startswith('blocks.'))
    twin = copy.deepcopy(other)
    after = other(image())
    assert not any(torch.equal(a, b) for a, b in zip(before, after))
    assert all(torch.equal(a, b) for a, b in zip(after, twin(image())))
    sum(o.square().sum() for o in after).backward()
    for block in list(other.blocks.values())[:3]:
        assert all(p.grad is not None and p.grad.any() for p in block.parameters())


# The two branches of a layer, written out; `forward` runs no hook.
def swin_layer(layer, x, hw):
    total = x + layer.attn.forward(layer.norm1(x), hw)
    return total, lambda s: layer.ffn.forward(layer.norm2.forward(s), identity=s)


def swin_v2_layer(layer, x, hw):
    total = x + layer.norm1(layer.attn.forward(x, hw))
    return total, lambda s: s + layer.norm2.forward(layer.ffn.forward(s))


def vit_layer(layer, x, hw):
    total = x + layer.attn.forward(layer.ln1(x))
    return total, lambda s: layer.ffn.forward(layer.ln2.forward(s), identity=s)


def on_map(block, tokens, hw):
    rest = tokens.shape[1] - hw[0] * hw[1]
    feature = tokens[:, rest:].permute(0, 2, 1).reshape(len(tokens), -1, *hw)
    return torch.cat([tokens[:, :rest], block(feature).flatten(2).permute(0, 2, 1)], 1)


def layer_by_hand(branches, layer, pair, x, hw):
    total, mlp = branches(layer, x, hw)
    return on_map(pair['mlp'], mlp(on_map(pair['attn'], total, hw)), hw)


def swin_by_hand(m, x, branches):
    x, hw = m.patch_embed(x)
    for i, stage in enumerate(m.stages):
        if branches is swin_v2_layer and stage.downsample:
            x, hw = stage.downsample(x, hw)
        for layer, pair in zip(stage.blocks, m.blocks[f'stage{i + 1}']):
            x = layer_by_hand(branches, layer, pair, x, hw)
        yield getattr(m, f'norm{i}')(x).permute(0, 2, 1).reshape(len(x), -1, *hw)
        if branches is swin_layer and stage.downsample:
            x, hw = stage.downsample(x, hw)


def vit_by_hand(m, x, branches):
    x, hw = m.patch_embed(x)
    x = torch.cat([m.cls_token.expand(len(x), -1, -1), x], 1)
    x = x + m.resize_pos_embed(m.pos_embed, m.patch_resolution, hw, m.interpolate_mode, 1)
    pairs = [pair for stage in m.blocks.values() for pair in stage]
    for layer, pair in zip(m.layers, pairs):
        x = layer_by_hand(branches, layer, pair, x, hw)
    yield m.ln1(x)[:, 1:].permute(0, 2, 1).reshape(len(x), -1, *hw)


@pytest.mark.parametrize('block', ['Mona', 'ResidualAdapter'])
@pytest.mark.parametrize(
    'name, by_hand, branches',
    [
        ('swin', swin_by_hand, swin_layer),
        ('swin-v2', swin_by_hand, swin_v2_layer),
        ('vit', vit_by_hand, vit_layer),
    ],
)
def test_in_blocks_equals_a_forward_pass_written_by_hand(name, by_hand, branches, block):
    model = blocked(name, 'in_blocks', block).eval()
    randomize(model.blocks)
    for size in ((64, 64), (64, 96)):
        wanted = list(by_hand(model, image(*size), branches))
        found = model(image(*size))
        assert len(found) == len(wanted)
        assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(found, wanted))


def test_gradients_with_activation_checkpointing():
    """The forward pass inside the checkpoint runs twice, in between with other images."""
    gradients = {}
    for with_cp in (False, True):
        model = build(
            rig.with_blocks(rig.swin(with_cp=with_cp), 'Mona') | dict(position='in_blocks')
        )
        model.eval()
        first, second = model(image(64, 96)), model(image(96, 64))
        (sum(o.square().sum() for o in first) + sum(o.sum() for o in second)).backward()
        gradients[with_cp] = {n: p.grad for n, p in model.named_parameters()}
    for name, gradient in gradients[False].items():
        assert torch.allclose(gradient, gradients[True][name], rtol=1e-4, atol=1e-6), name


def test_chosen_stages_and_options_by_stage():
    options = dict(stages=['stage3', 'stage1'], per_stage=dict(hidden_channels=[4, 2]))
    model = blocked('swin', 'in_blocks', 'ResidualAdapter', **options)
    assert {key: len(pairs) for key, pairs in model.blocks.items()} == {'stage3': 2, 'stage1': 1}
    assert model.blocks.stage3[1]['mlp'].reduce.out_channels == 4
    assert model.blocks.stage1[0]['attn'].reduce.out_channels == 2


def test_swins_own_initialisation_leaves_blocks_at_their_start():
    """It goes over all linear layers of the backbone."""
    for position in ('in_blocks', 'after_stage'):
        model, plain = blocked('swin', position, init='identity'), build(rig.swin())
        model.init_weights()
        plain.load_state_dict(model.state_dict(), strict=False)
        plain.eval(), model.eval()
        assert all(torch.equal(a, b) for a, b in zip(plain(image()), model(image())))


@pytest.mark.parametrize('convert', [False, True])
def test_a_published_checkpoint_fills_the_blocks(convert, tmp_path):
    """The authors have ``my_module_1`` and ``my_module_2`` in the layers of their Swin."""
    source = blocked('swin', 'in_blocks')
    randomize(source)
    published = {}
    for key, tensor in source.state_dict().items():
        if key.startswith('blocks.'):
            _, stage, layer, branch, rest = key.split('.', 4)
            number = dict(attn=1, mlp=2)[branch]
            key = f'stages.{int(stage[-1]) - 1}.blocks.{layer}.my_module_{number}.{rest}'
        key = key.replace('stages.', 'layers.') if convert else f'backbone.{key}'
        key = key.replace('w_msa.', '').replace('projection', 'proj') if convert else key
        if convert:
            key = key.replace('ffn.layers.0.0', 'mlp.fc1').replace('ffn.layers.1', 'mlp.fc2')
        published[key] = tensor
    assert sum('my_module_' in key for key in published) == 2 * 5 * 16
    torch.save(dict(model=published), tmp_path / 'mona.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'mona.pth'))
    config = rig.with_blocks(rig.swin(init_cfg=init, convert_weights=convert), 'Mona')
    filled = build(config | dict(position='in_blocks'), seed=5)
    filled.init_weights()
    state = filled.state_dict()
    differ = [k for k, t in source.state_dict().items() if not torch.equal(t, state[k])]
    assert all('downsample' in k for k in differ), differ[:3]  # mmdet reorders those


@pytest.mark.parametrize(
    'backbone, words',
    [
        (rig.resnet(), ["'in_blocks'", 'ResNet', 'attention', "'after_stage'"]),
        (rig.convnext(), ["'in_blocks'", 'ConvNeXt', 'attention']),
        (OTHERS['timm-resnet'], ["'in_blocks'", 'TIMMBackbone', 'attention']),
        (dict(type='mmpretrain.PoolFormer', arch='s12'), ['PoolFormer', 'stage_output_rule']),
        (dict(type='mmpretrain.TIMMBackbone', model_name='resnet18'), ['features_only']),
        (dict(type='NoSuchNet'), ["'NoSuchNet'", 'not registered']),
    ],
)
def test_bad_input(backbone, words):
    config = rig.with_blocks(backbone, 'Mona') | dict(position='in_blocks')
    with pytest.raises(ValueError) as error:
        build(config)
    assert all(word in str(error.value) for word in words), error.value


def test_unknown_position():
    with pytest.raises(ValueError, match="position must be one of 'after_stage', 'in_blocks', got"):
        blocked('swin', 'in_layers')
