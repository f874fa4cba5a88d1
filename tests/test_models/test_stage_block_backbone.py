"""The backbone with blocks is the original one: its names, checkpoints, modes and copies."""

import copy
import logging
import pickle
import re

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmbackbone_plugins import StageBlockBackbone, StageMap, StageOutput, stage_output_rule
from mmbackbone_plugins.models import families

rig.register_modules()
FAMILIES = {
    **rig.FAMILIES,
    'resnet50': dict(type='mmdet.ResNet', depth=50, base_channels=16),
    'resnest': dict(type='mmdet.ResNeSt', depth=50, base_channels=16),
    'mmpretrain-resnet': dict(type='mmpretrain.ResNet', depth=18, out_indices=(0, 1, 2, 3)),
    'mmpretrain-swin': dict(
        type='mmpretrain.SwinTransformer',
        arch=dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]),
        img_size=64,
        window_size=4,
        pad_small_map=True,
        out_indices=(0, 1, 2, 3),
    ),
}
every = pytest.mark.parametrize('name', FAMILIES)
three = pytest.mark.parametrize('name', ['resnet18', 'swin', 'convnext'])
STAGES = ('stage1', 'stage2', 'stage3', 'stage4')


@MODELS.register_module(force=True)
class Shift(nn.Module):
    """A block that changes what it gets, by its neighbourhood too."""

    def __init__(self, in_channels, by=0.5, bad=False):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)
        self.by, self.bad = by, bad

    def forward(self, x):
        return x[..., 1:] if self.bad else x + self.by * self.conv(x)


def build(config, scope='mmdet'):
    if 'mmpretrain' in str(config):
        import mmpretrain.models  # noqa: F401
    init_default_scope(scope)
    torch.manual_seed(0)
    module = MODELS.build(Config(dict(m=config)).m)
    # Norm layers at work: at the start the last one of a residual branch is zero in some families.
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.running_mean, -0.5, 0.5)
    return module


def pair(name, block='ResidualAdapter', **options):
    """A backbone, and the same with blocks; both in eval mode, with the same weights."""
    plain = build(FAMILIES[name])
    blocked = build(rig.with_blocks(FAMILIES[name], block, **options))
    result = blocked.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(k.startswith('blocks.stage') for k in result.missing_keys)
    plain.eval(), blocked.eval()
    return plain, blocked


def image(height=64, width=64):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


# -- in the path ---------------------------------------------------------------------------------


@every
@pytest.mark.parametrize('block', ['ResidualAdapter', 'SEBlock'])
def test_identity_start_changes_no_bit(name, block):
    options = dict(init='identity', reduction=4) if block == 'SEBlock' else {}
    plain, blocked = pair(name, block, **options)
    for training in (False, True):  # with batch statistics and drop path
        plain.train(training), blocked.train(training)
        outputs = []
        for module in (plain, blocked):
            torch.manual_seed(3)
            outputs.append(module(image()))
        assert len(outputs[0]) == 4
        assert all(torch.equal(a, b) for a, b in zip(*outputs)), training


def resnet_by_hand(m, x):
    x = m.maxpool(m.relu(m.norm1(m.conv1(x))))
    for i in (1, 2, 3, 4):
        for layer in getattr(m, f'layer{i}'):
            x = layer(x)
        x = m.blocks[f'stage{i}'](x)
        yield x


def swin_by_hand(m, x):
    x, hw = m.patch_embed(x)
    for i, stage in enumerate(m.stages):
        for block in stage.blocks:
            x = block.forward(x, hw)  # `forward` runs no hook
        feature = x.permute(0, 2, 1).reshape(len(x), -1, *hw)
        x = m.blocks[f'stage{i + 1}'](feature).flatten(2).permute(0, 2, 1).contiguous()
        normed = getattr(m, f'norm{i}')(x)
        yield normed.permute(0, 2, 1).reshape(len(x), -1, *hw)
        if stage.downsample:
            x, hw = stage.downsample(x, hw)


def convnext_by_hand(m, x):
    for i, stage in enumerate(m.stages):
        for layer in [*m.downsample_layers[i], *stage]:
            x = layer(x)
        x = m.blocks[f'stage{i + 1}'](x)
        yield getattr(m, f'norm{i}')(x)


BY_HAND = {'resnet18': resnet_by_hand, 'swin': swin_by_hand, 'convnext': convnext_by_hand}


@three
@pytest.mark.parametrize('size', [(64, 64), (72, 104)])
def test_outputs_equal_a_forward_pass_written_by_hand(name, size):
    _, blocked = pair(name, 'Shift')
    wanted = list(BY_HAND[name](blocked, image(*size)))
    found = blocked(image(*size))
    assert len(found) == len(wanted) == 4
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted))


@three
def test_out_indices_and_chosen_stages(name):
    config = rig.with_blocks(dict(FAMILIES[name], out_indices=[1, 3]), stages=['stage2', 'stage1'])
    blocked = build(config).eval()
    assert sorted(blocked.blocks) == ['stage1', 'stage2']
    before = blocked(image())
    assert len(before) == 2
    nn.init.ones_(blocked.blocks.stage1.conv.weight)  # its own output is not asked for
    assert not any(torch.equal(a, b) for a, b in zip(before, blocked(image())))
    names = StageMap.of(blocked, '').names
    assert names == ('stem', 'stage1', 'stage1.block', 'stage2', 'stage2.block', *STAGES[2:])


@pytest.mark.parametrize(
    'name, wanted, hidden',
    [
        ('resnet50', [64, 128, 256, 512], [16] * 4),
        ('regnet', [32, 64, 160, 384], [8, 8, 10, 12]),
        ('swin', [16, 32, 64, 128], [4] * 4),
        ('convnext', [16, 32, 64, 128], [4] * 4),
    ],
)
def test_channels_and_options_by_stage(name, wanted, hidden):
    config = rig.with_blocks(FAMILIES[name], 'SEBlock', per_stage=dict(reduction=[4, 8, 16, 32]))
    blocks = build(config).blocks.values()
    assert [b.fc2.out_channels for b in blocks] == wanted
    assert [b.fc1.out_channels for b in blocks] == hidden
    config = rig.with_blocks(
        FAMILIES[name],
        'SEBlock',
        hidden_channels=5,
        stages=['stage4', 'stage2'],
        per_stage=dict(init=['identity', 'paper']),
    )
    blocks = build(config).blocks
    assert {k: b.init for k, b in blocks.items()} == {'stage4': 'identity', 'stage2': 'paper'}
    assert all(b.fc1.out_channels == 5 for b in blocks.values())


def test_a_block_of_mmcv():
    """Whatever takes ``in_channels`` and keeps the shape."""
    _, blocked = pair('swin', 'ContextBlock', ratio=0.25)
    assert [b.in_channels for b in blocked.blocks.values()] == [16, 32, 64, 128]
    assert [tuple(o.shape[2:]) for o in blocked(image())] == [(16, 16), (8, 8), (4, 4), (2, 2)]


@every
def test_stages(name):
    blocked = build(rig.with_blocks(FAMILIES[name]))
    names = StageMap.of(nn.ModuleDict(dict(backbone=blocked))).names
    assert names == ('stem', *(n for s in STAGES for n in (s, f'{s}.block')))
    plain = StageMap.of(build(FAMILIES[name]), '')
    both = StageMap.of(blocked, '')
    for stage in both:
        if stage.is_block:
            assert all(p.startswith(f'blocks.{stage.name[:6]}.') for p in stage.parameters)
        else:
            assert stage == plain[stage.name]


# -- the original object -------------------------------------------------------------------------


@three
def test_it_is_the_original_backbone(name):
    blocked = build(rig.with_blocks(FAMILIES[name]))
    plain = build(FAMILIES[name])
    assert isinstance(blocked, StageBlockBackbone) and isinstance(blocked, type(plain))
    assert blocked.out_indices == plain.out_indices
    assert repr(blocked).startswith(f'StageBlock{type(plain).__name__}(')
    assert type(build(rig.with_blocks(FAMILIES[name]))) is type(blocked)
    names = [n for n, _ in blocked.named_parameters() if not n.startswith('blocks.')]
    assert names == [n for n, _ in plain.named_parameters()]


@pytest.mark.parametrize('how', ['deepcopy', 'pickle'])
@three
def test_copies_run_their_own_blocks(name, how):
    _, blocked = pair(name, 'Shift')
    other = copy.deepcopy(blocked) if how == 'deepcopy' else pickle.loads(pickle.dumps(blocked))
    before = blocked(image())
    assert type(other) is type(blocked) and isinstance(other, StageBlockBackbone)
    assert all(torch.equal(a, b) for a, b in zip(before, other(image())))
    for parameter in other.blocks.parameters():
        nn.init.ones_(parameter)
    assert not any(torch.equal(a, b) for a, b in zip(before, other(image())))
    assert all(torch.equal(a, b) for a, b in zip(before, blocked(image())))
    assert StageMap.of(other, '').names == StageMap.of(blocked, '').names


@pytest.mark.parametrize('frozen', [1, 4])
@three
def test_own_frozen_stages_leave_blocks_alone(name, frozen):
    config = dict(FAMILIES[name], frozen_stages=frozen)
    blocked = build(rig.with_blocks(config, norm_cfg=dict(type='BN')))
    plain = build(config)
    blocked.train(), plain.train()
    for parameter in blocked.blocks.parameters():
        assert parameter.requires_grad
    assert all(m.training for m in blocked.blocks.modules())
    original = {n: p for n, p in blocked.named_parameters() if not n.startswith('blocks.')}
    assert {n: p.requires_grad for n, p in original.items()} == {
        n: p.requires_grad for n, p in plain.named_parameters()
    }
    assert not all(p.requires_grad for p in original.values())
    blocked.eval()
    assert not any(m.training for m in blocked.modules())


def test_norm_eval_is_about_the_pretrained_norm_layers():
    backbone = dict(rig.resnet(), norm_eval=True)
    blocked = build(rig.with_blocks(backbone, norm_cfg=dict(type='BN')))
    assert blocked.train() is blocked
    for name, module in blocked.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == name.startswith('blocks.'), name
    with torch.no_grad():
        blocked(image())
    counts = {n: int(b) for n, b in blocked.named_buffers() if n.endswith('num_batches_tracked')}
    assert all(c == (1 if n.startswith('blocks.') else 0) for n, c in counts.items())


def test_sync_batch_norm_reaches_blocks_and_backbone():
    plain, blocked = pair('resnet18', norm_cfg=dict(type='BN'))
    before = blocked(image())
    converted = convert_sync_batchnorm(blocked)
    kinds = {type(m).__name__ for m in converted.modules() if 'Norm' in type(m).__name__}
    assert kinds == {'SyncBatchNorm'}
    reverted = revert_sync_batchnorm(converted).eval()
    assert all(torch.equal(a, b) for a, b in zip(before, reverted(image())))


def test_optimizer_rules_match_names():
    """mmengine's ``custom_keys``, and mmdet's layer decay, which asks for a class's name."""
    model = nn.Module()
    model.backbone = build(rig.with_blocks(FAMILIES['swin'], norm_cfg=dict(type='BN')))
    keys = {'norm': dict(decay_mult=0.0), 'backbone.stages.0': dict(lr_mult=0.5)}
    optim = dict(type='AdamW', lr=1.0, weight_decay=1.0)
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=optim, paramwise_cfg=dict(custom_keys=keys))
    )
    names = {id(p): n for n, p in model.named_parameters()}
    rules = {
        names[id(g['params'][0])]: (g['lr'], g['weight_decay'])
        for g in wrapper.optimizer.param_groups
    }
    assert rules['backbone.blocks.stage1.norm.weight'] == (1.0, 0.0)
    assert rules['backbone.blocks.stage1.conv.weight'] == (1.0, 1.0)
    assert rules['backbone.stages.0.blocks.0.attn.w_msa.qkv.weight'] == (0.5, 1.0)

    model.backbone = build(rig.with_blocks(FAMILIES['convnext']))
    decay = dict(decay_rate=0.5, decay_type='layer_wise', num_layers=6)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=optim,
            paramwise_cfg=decay,
            constructor='mmdet.LearningRateDecayOptimizerConstructor',
        ),
    )
    names = {id(p): n for n, p in model.named_parameters()}
    scales = {names[id(p)]: g['lr'] for g in wrapper.optimizer.param_groups for p in g['params']}
    assert scales['backbone.blocks.stage1.conv.weight'] == 1.0, 'as the head'
    assert scales['backbone.downsample_layers.0.0.weight'] == 0.5**7


# -- checkpoints ---------------------------------------------------------------------------------


@three
def test_start_after_init_weights(name):
    """The backbone's own initialisation (Kaiming, truncated normal) does not reach the blocks."""
    for block, options in (
        ('ResidualAdapter', {}),
        ('SEBlock', dict(init='identity', reduction=4)),
    ):
        blocked = build(rig.with_blocks(FAMILIES[name], block, **options))
        before = blocked.state_dict()
        before = {k: v.clone() for k, v in before.items()}
        blocked.init_weights()
        moved = rig.equal(before, blocked.state_dict())
        assert any(k.startswith(('layer4', 'stages')) for k in moved)
        plain = build(FAMILIES[name])
        plain.eval()
        result = plain.load_state_dict(blocked.state_dict(), strict=False)
        assert all(k.startswith('blocks.') for k in result.unexpected_keys)
        pairs = zip(plain(image()), blocked.eval()(image()))
        assert all(torch.equal(a, b) for a, b in pairs)


# Real sizes, each built once with and once without blocks.
REAL = {
    'r50': dict(
        type='mmdet.ResNet',
        depth=50,
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
    ),
    'swin-t': dict(type='mmdet.SwinTransformer', depths=(2, 2, 6, 2)),
    'convnext-t': dict(
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=[0, 1, 2, 3],
        gap_before_final_norm=False,
    ),
}


class _Detector(nn.Module):
    """What a checkpoint of a detector looks like to its backbone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(8, 8, 1)


class Report(logging.Logger):
    """What mmengine reports of a loading, as sets of keys."""

    def __init__(self, model, path):
        super().__init__('report')
        self.text = ''
        load_checkpoint(model, str(path), 'cpu', logger=self)

    def _log(self, level, msg, *args, **kwargs):
        self.text += f'{msg}\n'

    def __getitem__(self, kind):
        listed = re.search(rf'{kind} keys? in source state_dict: (.*)', self.text)
        return {key.strip() for key in listed[1].split(',')} if listed else set()


@pytest.mark.parametrize('name', REAL)
def test_pretrained_weights_of_real_size(name, tmp_path):
    """Plain weights load under their usual names, in all the ways in which people load them."""
    plain = build(REAL[name])
    state = plain.state_dict()
    files = {
        'backbone': state,
        'detector': dict(state_dict=_Detector(plain).state_dict(), meta=dict()),
    }
    for file, content in files.items():
        torch.save(content, tmp_path / f'{file}.pth')
    blocks = dict(type='SEBlock', init='identity')
    config = dict(
        type='StageBlockBackbone',
        backbone=dict(
            REAL[name], init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'))
        ),
        block=blocks,
        per_stage=dict(reduction=[4, 8, 16, 32]),
    )
    if name == 'swin-t':  # mmdet's Swin takes a checkpoint of this kind only
        config['backbone']['init_cfg']['checkpoint'] = str(tmp_path / 'detector.pth')
    blocked = build(config)
    hidden = {b.fc1.out_channels for b in blocked.blocks.values()}
    assert hidden == {dict(r50=64).get(name, 24)}
    keys = {
        f'blocks.{s}.{fc}.{k}' for s in STAGES for fc in ('fc1', 'fc2') for k in ('weight', 'bias')
    }
    assert blocked.state_dict().keys() == state.keys() | keys

    blocked.init_weights()
    loaded = blocked.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())
    assert not loaded['blocks.stage1.fc2.weight'].any()

    if name != 'swin-t':  # a detector's checkpoint, by prefix
        blocked.init_cfg = dict(
            type='Pretrained', checkpoint=str(tmp_path / 'detector.pth'), prefix='backbone.'
        )
        nn.init.zeros_(next(blocked.parameters()))
        blocked.is_init = False
        blocked.init_weights()
        loaded = blocked.state_dict()
        assert all(torch.equal(loaded[k], v) for k, v in state.items())

    # load_from: a plain detector's checkpoint into one with blocks, and the other way round.
    whole = {f'backbone.{k}' for k in keys}
    report = Report(_Detector(blocked), tmp_path / 'detector.pth')
    assert (report['missing'], report['unexpected']) == (whole, set())
    torch.save(dict(state_dict=_Detector(blocked).state_dict()), tmp_path / 'ours.pth')
    report = Report(_Detector(plain), tmp_path / 'ours.pth')
    assert (report['missing'], report['unexpected']) == (set(), whole)


def test_checkpoint_with_blocks_as_pretrained_weights(tmp_path):
    """The second of two runs: SE blocks that were trained while the backbone was frozen."""
    blocked = build(rig.with_blocks(FAMILIES['resnet18'], 'SEBlock', reduction=4))
    torch.save(dict(state_dict=_Detector(blocked).state_dict()), tmp_path / 'probed.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'probed.pth'), prefix='backbone.')
    torch.manual_seed(5)
    second = rig.build(rig.with_blocks(rig.resnet(init_cfg=init_cfg), 'SEBlock', reduction=4))
    assert rig.equal(dict(second.state_dict()), dict(blocked.state_dict()), 'blocks.')
    second.init_weights()
    assert not rig.equal(dict(second.state_dict()), dict(blocked.state_dict()))


def test_options_beside_the_blocks_are_the_backbones():
    """What sets ``model.backbone.<option>`` does the same with and without blocks."""
    init_cfg = dict(type='Pretrained', checkpoint='nowhere://weights')
    config = rig.with_blocks(rig.resnet(init_cfg=init_cfg))
    blocked = build(dict(config, frozen_stages=2, init_cfg=None))
    assert blocked.frozen_stages == 2 and 'Pretrained' not in str(blocked.init_cfg)


# -- registries ----------------------------------------------------------------------------------


@pytest.mark.parametrize('scope', ['mmdet', 'mmrotate', 'mmengine'])
def test_resolves_from_every_scope(scope):
    assert isinstance(build(rig.with_blocks(rig.resnet()), scope), StageBlockBackbone)


def test_inner_type_resolves_where_the_plain_one_would():
    """Without a scope of its own, in the scope of the detector around it."""
    backbone = dict(rig.resnet(), type='ResNet')
    inside = rig.with_blocks(backbone)
    assert isinstance(build(inside, 'mmdet'), StageBlockBackbone)
    model = rig.detector('retinanet')
    model.update(_scope_='mmdet', backbone=inside)
    init_default_scope('mmrotate')
    model = MODELS.build(Config(dict(model=model)).model)
    assert isinstance(model.backbone, StageBlockBackbone)


# -- other families, bad input -------------------------------------------------------------------


def test_a_new_family_is_one_rule():
    """The example of docs/howto/my_backbone.md."""

    @stage_output_rule('MobileNetV2')
    def mobile_net(backbone):
        if type(backbone).__name__ != 'MobileNetV2':
            return None
        stages = [getattr(backbone, name) for name in backbone.layers if name != 'conv2']
        return [
            StageOutput(f'stage{i}', stage, stage[-1].linear_conv.conv.out_channels)
            for i, stage in enumerate(stages, start=1)
        ]

    config = dict(type='mmdet.MobileNetV2', widen_factor=0.25)
    try:
        blocked = build(rig.with_blocks(config, 'Shift'))
    finally:
        del families._RULES['MobileNetV2']
    stages = StageMap.of(blocked, '')
    assert [s.name for s in stages if s.is_block] == [f'stage{i}.block' for i in range(1, 8)]
    plain = build(config)
    plain.load_state_dict(blocked.state_dict(), strict=False)
    plain.eval(), blocked.eval()
    assert not any(torch.equal(a, b) for a, b in zip(plain(image()), blocked(image())))


SE = dict(type='SEBlock')


@pytest.mark.parametrize(
    'options, words',
    [
        (
            dict(backbone=dict(type='mmdet.MobileNetV2')),
            ['MobileNetV2', 'ResNet', 'Swin', 'ConvNeXt', 'stage_output_rule'],
        ),
        (dict(backbone='resnet50'), ['backbone', "'resnet50'", 'config']),
        (dict(block='SEBlock'), ['block', "'SEBlock'", 'config']),
        (dict(block=dict(type='SeBlock')), ['SeBlock', 'not registered']),
        (dict(block=dict(type='mmdet.L1Loss')), ['L1Loss', 'in_channels', 'reduction']),
        (dict(block=dict(SE, reductoin=4)), ['SEBlock', "'reductoin'", 'reduction', 'init']),
        (dict(per_stage=dict(ratio=[1, 2, 3, 4])), ['SEBlock', "'ratio'", 'reduction']),
        (dict(per_stage=dict(reduction=[4, 8])), ['reduction', 'stage4', '2', '[4, 8]']),
        (dict(per_stage=dict(reduction=4)), ['reduction', 'list', '4']),
        (dict(per_stage=[4, 8, 16, 32]), ['per_stage', 'dict', '[4, 8, 16, 32]']),
        (
            dict(block=dict(SE, reduction=4), per_stage=dict(reduction=[4] * 4)),
            ['reduction', 'twice'],
        ),
        (dict(per_stage=dict(reduction=[4, 8, 16, 256])), ['reduction', '256', 'up to 128']),
        (dict(reduction=4), ['reduction', 'SEBlock', 'per_stage']),
        (dict(stages=['stage5']), ["'stage5'", "'stage1'", "'stage4'"]),
        (dict(stages=['layer1']), ["'layer1'", "'stage1'"]),
        (dict(stages=[]), ['stages', '[]']),
        (dict(stages='stage1'), ['stages', 'list', "'stage1'"]),
        (dict(stages=['stage1', 'stage1']), ['twice']),
        (
            dict(
                backbone=dict(
                    rig.resnet(), num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,)
                )
            ),
            ['ResNet'],
        ),
        (dict(backbone=rig.with_blocks(rig.resnet())), ['blocks', 'already']),
    ],
)
def test_bad_input(options, words):
    config = dict(dict(type='StageBlockBackbone', backbone=rig.resnet(), block=SE), **options)
    with pytest.raises(ValueError) as error:
        MODELS.build(config)
    assert all(word in str(error.value) for word in words), error.value


def test_channels_that_cannot_be_inferred():
    @MODELS.register_module(force=True)
    class Layered(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1, self.layer2 = nn.Sequential(Block()), nn.Sequential(Block())

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv2 = nn.ReLU()

    with pytest.raises(ValueError, match='channels of the stages of Layered cannot be inferred'):
        MODELS.build(rig.with_blocks(dict(type='Layered')))


def test_a_rule_names_stages_as_a_stage_map_does():
    @MODELS.register_module(force=True)
    class Pair(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))

    @stage_output_rule('Pair')
    def pair_outputs(backbone):
        if type(backbone).__name__ == 'Pair':
            return [StageOutput('0', backbone[0], 3), StageOutput('last', backbone[1], 3)]

    try:
        config = rig.with_blocks(dict(type='Pair'))
        with pytest.raises(ValueError, match="names 'last', but .* are 0, 1"):
            build(config)
        blocked = build(dict(config, stages=['0']))
    finally:
        del families._RULES['Pair']
    assert StageMap.of(blocked, '').names == ('0', '0.block', '1')


def test_a_block_that_changes_the_shape_is_named():
    blocked = build(rig.with_blocks(rig.resnet(), 'Shift', bad=True))
    with pytest.raises(ValueError, match=r'after stage1 \(Shift\) made .*15.* of .*16'):
        blocked(image())


def test_outputs_that_are_no_tensor_are_named():
    @MODELS.register_module(force=True)
    class Listing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1, self.layer2 = nn.Sequential(Lists()), nn.Sequential(Lists())

        def forward(self, x):
            return self.layer2(self.layer1(x))

    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv3 = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return [self.conv3(x)]

    with pytest.raises(TypeError, match=r'stage1 \(Sequential\) returned a list'):
        build(rig.with_blocks(dict(type='Listing')))(image())
