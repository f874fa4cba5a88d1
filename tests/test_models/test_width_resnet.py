"""WidthResNet with mmdet's widths is mmdet's ResNet; with others it builds, trains and loads."""

import copy
import re
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmbackbone_plugins import StageMap
from mmbackbone_plugins.models import WidthResNet

GN = dict(type='GN', num_groups=4, requires_grad=True)
PLUGIN = dict(cfg=dict(type='ContextBlock', ratio=1 / 4), position='after_conv3')
INNER = dict(cfg=dict(type='ContextBlock', ratio=1 / 4, postfix='_in'), position='after_conv2')
DCN = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
WITH_DCN = (False, True, True, True)

VARIANTS = {
    'r18': dict(depth=18),
    'r34': dict(depth=34),
    'r50': dict(depth=50),
    'r101': dict(depth=101),
    'r152': dict(depth=152, out_indices=(1, 3)),
    'caffe': dict(depth=50, style='caffe', norm_cfg=dict(type='BN', requires_grad=False)),
    'gn': dict(depth=50, norm_cfg=GN, zero_init_residual=False),
    'r18-gn': dict(depth=18, norm_cfg=GN),
    'v1d': dict(depth=50, deep_stem=True, avg_down=True),
    'stem': dict(depth=18, stem_channels=24),
    'dcn': dict(depth=50, dcn=DCN, stage_with_dcn=WITH_DCN),
    'plugins': dict(depth=50, plugins=[PLUGIN, INNER]),
    'dilated': dict(depth=50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    'three': dict(depth=50, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1)),
    'frozen': dict(depth=18, frozen_stages=1, norm_eval=True),
}
VARIANTS['three']['out_indices'] = (2,)


def build(kind, seed=0, **options):
    rig.register_modules()
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        settings = copy.deepcopy(options)  # mmdet pops from a dcn dict
        model = MODELS.build(dict(type=kind, **{'base_channels': 8, **settings}))
        model.init_weights()
    return model


def written_out(model):
    """The widths of a WidthResNet as a config that spells all of them out."""
    return dict(
        stem_channels=model.stem_channels,
        stage_widths=model.stage_widths,
        block_widths=model.block_widths,
    )


@pytest.mark.parametrize('name', VARIANTS)
def test_with_mmdets_widths_it_is_mmdets_resnet(name):
    options = VARIANTS[name]
    theirs = build('ResNet', **options)
    ours = build('WidthResNet', **options)
    again = build('WidthResNet', **{**options, **written_out(ours)})
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for other in (ours, again):
        assert list(other.state_dict()) == list(theirs.state_dict())
        assert not rig.equal(dict(other.state_dict()), dict(theirs.state_dict()))
        assert [type(m) for m in list(other.modules())[1:]] == [
            type(m) for m in list(theirs.modules())[1:]
        ]
        for mode in (True, False):
            for net in (theirs, other):
                net.train(mode)
            assert [m.training for m in other.modules()] == [m.training for m in theirs.modules()]
            for mine, wanted in zip(other(image), theirs(image)):
                assert torch.equal(mine, wanted)
        assert [p.requires_grad for p in other.parameters()] == [
            p.requires_grad for p in theirs.parameters()
        ]
        assert StageMap.of(other, '').names == StageMap.of(theirs, '').names
        assert (other.feat_dim, other.inplanes) == (theirs.feat_dim, theirs.inplanes)


def test_pretrained_weights_load(tmp_path):
    theirs = build('ResNet', depth=50, seed=3)
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'resnet.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth'))
    ours = build('WidthResNet', depth=50, seed=4, init_cfg=pretrained)
    assert not rig.equal(dict(ours.state_dict()), dict(theirs.state_dict()))


def odd(depth, stages=4):
    """A different width at every place where there is a choice."""
    block, counts = WidthResNet.arch_settings[depth]
    counts = counts[:stages]
    number = iter(range(2, 1000))
    inner = 1 if depth < 50 else 2
    return dict(
        stem_channels=20,
        stage_widths=[4 * next(number) for _ in counts],
        block_widths=[[[4 * next(number) for _ in range(inner)] for _ in range(n)] for n in counts],
    )


@pytest.mark.parametrize('name', [n for n in VARIANTS if n not in ('stem', 'r152')])
def test_any_widths_build_and_train(name):
    options = {
        **VARIANTS[name],
        **odd(VARIANTS[name]['depth'], VARIANTS[name].get('num_stages', 4)),
    }
    model = build('WidthResNet', **options)
    for i, (stage, blocks) in enumerate(zip(options['stage_widths'], options['block_widths'])):
        layer = getattr(model, f'layer{i + 1}')
        for block, inner in zip(layer, blocks):
            widths = [getattr(block, f'conv{j}').out_channels for j in range(1, len(inner) + 2)]
            assert widths == [*inner, stage]
    image = torch.rand(2, 3, 64, 64)
    model.train()
    outputs = model(image)
    indices = options.get('out_indices', (0, 1, 2, 3))
    assert [o.shape[1] for o in outputs] == [options['stage_widths'][i] for i in indices]
    trained = [p for p in model.parameters() if p.requires_grad]
    step = torch.optim.SGD(trained, lr=0.1)
    sum(o.square().mean() for o in outputs).backward()
    if options.get('style') != 'caffe':  # its norms do not train
        assert all(p.grad is not None for p in trained if p.ndim == 1)
    step.step()
    assert all(torch.isfinite(o).all() for o in model(image))
    # What is initialised to zero in mmdet's blocks is so in resized ones.
    fresh = build('WidthResNet', **options)
    last = 2 if VARIANTS[name]['depth'] < 50 else 3
    zero = options.get('zero_init_residual', True)
    for layer in fresh.res_layers:
        for block in getattr(fresh, layer):
            assert (getattr(block, f'norm{last}').weight == 0).all() == zero


def test_plugins_and_deformable_convolutions_have_the_new_width():
    options = {**VARIANTS['dcn'], **odd(50), 'plugins': [PLUGIN, INNER]}
    model = build('WidthResNet', **options)
    plain = build('ResNet', depth=50, dcn=DCN, stage_with_dcn=WITH_DCN, plugins=[PLUGIN, INNER])
    assert set(model.state_dict()) == set(plain.state_dict())
    for i in (2, 3, 4):
        for block, inner in zip(getattr(model, f'layer{i}'), options['block_widths'][i - 1]):
            assert type(block.conv2).__name__ == 'ModulatedDeformConv2dPack'
            assert (block.conv2.in_channels, block.conv2.out_channels) == tuple(inner)
            assert block.conv2.conv_offset.in_channels == inner[0]
            (name,) = block.after_conv2_plugin_names
            assert getattr(block, name).in_channels == inner[1]
            (name,) = block.after_conv3_plugin_names
            assert getattr(block, name).in_channels == options['stage_widths'][i - 1]
    assert all(torch.isfinite(o).all() for o in model(torch.rand(1, 3, 64, 64)))


def test_shorthands_are_the_lists_that_they_stand_for():
    short = build('WidthResNet', depth=50, block_widths=[12, [16, [8, 20], 16, 16], 32, 64])
    assert short.block_widths[0] == [[12, 12]] * 3
    assert short.block_widths[1] == [[16, 16], [8, 20], [16, 16], [16, 16]]
    assert short.stage_widths == [32, 64, 128, 256]


def test_a_residual_stream_as_wide_as_its_input_needs_no_branch():
    """As in mmdet's ResNet, by the widths that the blocks really have."""
    assert build('WidthResNet', depth=18).layer1[0].downsample is None
    assert build('WidthResNet', depth=18, stem_channels=12).layer1[0].downsample is not None
    tied = build('WidthResNet', depth=50, stem_channels=12, stage_widths=[12, 16, 24, 32])
    assert tied.layer1[0].downsample is None
    assert len(tied(torch.rand(1, 3, 64, 64))) == 4


def test_the_lines_of_the_method_card_are_a_backbone(tmp_path):
    text = (Path(__file__).parents[2] / 'docs' / 'widths.md').read_text()
    (block,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (tmp_path / 'card.py').write_text(block)
    cfg = Config.fromfile(tmp_path / 'card.py').model
    model = MODELS.build(cfg.backbone)
    assert model.stage_widths == cfg.neck.in_channels
    assert model.block_widths[1] == [[128, 128]] * 3 + [[96, 96]]
    assert model.block_widths[2][0] == [256, 224]


@pytest.mark.run
@pytest.mark.parametrize('kind', ['retinanet', 'rotated-retinanet', 'oriented-rcnn'])
def test_in_detectors_of_both_packages(kind, tmp_path):
    """Plain names resolve from both scopes; the neck follows by config."""
    backbone = rig.resnet(**odd(18))
    backbone['type'] = 'WidthResNet'
    model = rig.detector(kind, backbone=backbone)
    model['neck']['in_channels'] = backbone['stage_widths']
    record = rig.train(tmp_path, model=model, epochs=1, length=2)
    assert 'backbone.layer4.0.conv1.weight' in rig.equal(*record.states)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(depth=20), r'depth must be one of \[18, 34, 50, 101, 152\], got 20'),
        (dict(stage_widths=[8, 8]), r'stage_widths must have 4 entries, one for each stage, got'),
        (dict(stage_widths=8), r'stage_widths must have 4 entries, .* got 8'),
        (dict(stage_widths=[8, 8, 0, 8]), r'stage_widths\[2\] must be a positive integer, got 0'),
        (dict(stage_widths=[8, 8, 8.5, 8]), r'stage_widths\[2\] must be a positive .* got 8.5'),
        (dict(stem_channels=-1), r'stem_channels must be a positive integer, got -1'),
        (dict(block_widths=[8]), r'block_widths must have 4 entries, one for each stage'),
        (dict(block_widths=[8, 8, 8, [8]]), r'block_widths\[3\] must have 3 entries, .* block'),
        (
            dict(block_widths=[8, 8, 8, [8, 8, [8]]]),
            r'block_widths\[3\]\[2\] must have 2 entries, .* inner convolution, got \[8\]',
        ),
        (dict(block_widths=[8, -2, 8, 8]), r'block_widths\[1\] must be a positive integer, got -2'),
        (
            dict(norm_cfg=GN, stage_widths=[8, 10, 12, 14]),
            r'num_groups = 4 must divide every width; it does not divide stage_widths\[1\] = 10, ',
        ),
    ],
)
def test_bad_widths_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build('WidthResNet', **{'depth': 50, **options})


def test_a_backbone_with_blocks_may_be_of_this_class():
    """The registry holds a function for it, so that mmdet is imported on use."""
    config = dict(type='WidthResNet', depth=18, base_channels=8)
    blocked = MODELS.build(rig.with_blocks(config, 'ResidualAdapter'))
    assert isinstance(blocked, WidthResNet)
    assert sorted(blocked.blocks) == ['stage1', 'stage2', 'stage3', 'stage4']
