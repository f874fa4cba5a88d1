"""Slots of a ResNet, the feature maps there, and the cost of other widths on real detectors."""

import copy

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope

from mmbackbone_plugins import collect_moments
from mmbackbone_plugins.models.resnet_widths import SlotTaps, width_options, width_slots
from mmbackbone_plugins.models.width_costs import Cost, WidthCosts, build_detector, count_cost

SIZE = (64, 64)


@pytest.fixture(autouse=True)
def _scope():
    rig.register_modules()
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


def config(depth, base=16, **options):
    """A small RetinaNet; of depth 50 the stages are four times as wide."""
    backbone = rig.resnet(**{**options})
    backbone.update(depth=depth, base_channels=base)
    model = rig.detector(backbone=backbone)
    wide = 1 if depth < 50 else 4
    model['neck']['in_channels'] = [base * wide * 2**i for i in range(4)]
    return Config(dict(default_scope='mmdet', model=model))


def build(cfg):
    torch.manual_seed(0)
    return build_detector(cfg)


def widths_of(slots):
    return {slot.name: slot.width for slot in slots}


def test_slots_of_resnets():
    init_default_scope('mmdet')
    basic = width_slots(MODELS.build(dict(type='ResNet', depth=18)))
    assert widths_of(basic) == {
        'stage1.0.conv1': 64,
        'stage1.1.conv1': 64,
        'stage1': 64,
        'stage2.0.conv1': 128,
        'stage2.1.conv1': 128,
        'stage2': 128,
        'stage3.0.conv1': 256,
        'stage3.1.conv1': 256,
        'stage3': 256,
        'stage4.0.conv1': 512,
        'stage4.1.conv1': 512,
        'stage4': 512,
    }
    deep = width_slots(MODELS.build(dict(type='ResNetV1d', depth=50)))
    assert len(deep) == 1 + 4 + 2 * (3 + 4 + 6 + 3)
    assert [s.name for s in deep[:4]] == [
        'stem',
        'stage1.0.conv1',
        'stage1.0.conv2',
        'stage1.1.conv1',
    ]
    assert widths_of(deep)['stage3'] == 1024 and widths_of(deep)['stage3.5.conv2'] == 256
    ours = MODELS.build(dict(type='WidthResNet', depth=18, stem_channels=24, stage_widths=[8] * 4))
    assert widths_of(width_slots(ours))['stem'] == 24


@pytest.mark.parametrize(
    'backbone',
    [
        rig.swin(),
        dict(type='ResNeXt', depth=50, groups=32, base_width=4),
        dict(type='RegNet', arch='regnetx_800mf', out_indices=(0,)),
    ],
)
def test_other_backbones_are_refused(backbone):
    init_default_scope('mmdet')
    built = MODELS.build(backbone)
    with pytest.raises(
        ValueError, match=f'the backbone is a {type(built).__name__}; widths can be'
    ):
        width_slots(built)


def test_options_of_the_own_widths_are_the_backbone():
    init_default_scope('mmdet')
    for depth in (18, 50):
        backbone = MODELS.build(dict(type='ResNet', depth=depth, base_channels=8))
        options = width_options(backbone, widths_of(width_slots(backbone)))
        ours = MODELS.build(dict(type='WidthResNet', depth=depth, **options))
        shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (backbone, ours)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize(('depth', 'inner'), [(18, 1), (50, 2)])
def test_the_feature_maps_are_those_after_norm_and_relu(depth, inner):
    """Against the outputs of mmdet's own modules: a block's one ReLU counts its calls."""
    model = build(config(depth))
    slots = width_slots(model.backbone)
    images = torch.rand(3, 3, *SIZE)
    with SlotTaps(model, slots) as taps:
        found = collect_moments(taps, [images], list(taps.layers.values()), forward=taps)
    wanted = collect_moments(model, [images], ['backbone.*relu', 'backbone.layer?'])
    pairs = {}
    for stage in range(1, 5):
        pairs[f'stage{stage}'] = f'backbone.layer{stage}'
        for i in range(len(getattr(model.backbone, f'layer{stage}'))):
            relu = f'backbone.layer{stage}.{i}.relu'
            for k in range(inner):
                pairs[f'stage{stage}.{i}.conv{k + 1}'] = relu + ('' if k == 0 else f'#{k + 1}')
    if depth == 50:
        pairs['stem'] = 'backbone.relu'
    assert set(pairs) == {slot.name for slot in slots} == set(taps.layers)
    for slot in slots:
        moment = found[taps.layers[slot.name]]
        assert moment.num_channels == slot.width
        assert torch.equal(moment.matrix(), wanted[pairs[slot.name]].matrix())
        assert (moment.matrix() >= 0).all()  # after a ReLU
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_exception_takes_the_hooks_away():
    model = build(config(18))
    mine = model.backbone.layer2.register_forward_hook(lambda *_: None)
    with pytest.raises(KeyError), SlotTaps(model, width_slots(model.backbone)):
        raise KeyError
    left = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert left == [model.backbone.layer2] and len(left[0]._forward_hooks) == 1
    mine.remove()


def counted_by_hand(model):
    """Parameters, and multiply-adds of every convolution that a real image goes through."""
    macs = []

    def count(conv, args, output):
        macs.append(output[0].numel() * conv.weight[0].numel())

    for part in (model.backbone, model.neck):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)
    model.eval()
    with torch.no_grad():
        model.extract_feat(torch.rand(1, 3, *SIZE))
    return Cost(sum(p.numel() for p in model.parameters()), sum(macs))


def step(model):
    """One step of SGD on the detector's losses."""
    scenes = rig.DrawnScenes(2)
    batch = {k: [scenes[0][k], scenes[1][k]] for k in scenes[0]}
    model.train()
    losses, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    losses.backward()
    before = [p.detach().clone() for p in model.parameters()]
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    return losses, sum(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


@pytest.mark.run
@pytest.mark.newer_torch
@pytest.mark.parametrize('depth', [18, 50])
def test_every_width_changed_alone_costs_what_is_predicted_and_trains(depth):
    cfg = config(depth)
    model = build(cfg)
    slots = width_slots(model.backbone)
    norm = dict(type='GN', num_groups=4, requires_grad=True)
    costs = WidthCosts(cfg, model.backbone, norm, SIZE)
    baseline = widths_of(slots)
    assert costs(baseline) == count_cost(lambda: build(cfg), SIZE) == counted_by_hand(model)
    for number, slot in enumerate(slots):
        changed = {**baseline, slot.name: slot.width + 4}
        new = copy.deepcopy(cfg)
        new.merge_from_dict(dict(model=costs.overrides(changed)['model']))
        model = build(new)
        assert widths_of(width_slots(model.backbone)) == changed
        cost = counted_by_hand(model)
        assert cost == costs(changed)
        assert cost.parameters > costs(baseline).parameters and cost.macs > costs(baseline).macs
        if depth == 50 and number % 4:
            continue  # steps of a deeper net take longer and are as good
        loss, moved = step(model)
        assert torch.isfinite(loss) and moved > 20


@pytest.mark.newer_torch
@pytest.mark.parametrize(
    'options',
    [
        dict(type='mmdet.ResNetV1d'),
        dict(style='caffe'),
        dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=0.25), position='after_conv3')]),
    ],
)
def test_cost_of_other_resnets(options):
    cfg = config(50)
    cfg.model.backbone.update(options)
    model = build(cfg)
    slots = width_slots(model.backbone)
    norm = dict(type='BN', requires_grad=True)
    costs = WidthCosts(cfg, model.backbone, norm, SIZE)
    assert costs(widths_of(slots)) == count_cost(lambda: build(cfg), SIZE)
    changed = {slot.name: 8 * (i + 2) for i, slot in enumerate(slots)}
    cfg.merge_from_dict(dict(model=costs.overrides(changed)['model']))
    model = build(cfg)
    cost = costs(changed)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    if 'plugins' not in options:  # a context block has matrix products beside convolutions
        assert cost == counted_by_hand(model)


@pytest.mark.newer_torch
def test_what_cannot_be_counted_is_said():
    dcn = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
    cfg = config(50, dcn=dcn, stage_with_dcn=(False, True, True, True))
    with pytest.raises(ValueError, match='cannot be counted: .* such as a deformable convolution'):
        count_cost(lambda: build(cfg), SIZE)
