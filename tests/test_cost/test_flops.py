"""FLOPs of a step against closed forms, and a plan against its sum."""

import pytest
import rig
import torch
from mmengine.config import Config
from torch import nn

from mmbackbone_plugins import FreezePlan, Freezer, StageMap, StepFreezing, build_schedule
from mmbackbone_plugins.cost import plan_runs, training_flops
from mmbackbone_plugins.lab import inputs
from mmbackbone_plugins.lab.launch import build_model

CHANNELS, SIZE = (3, 8, 16, 4), 20


class Chain(nn.Module):
    """Convolutions 3x3 one after the other; the last one is the head."""

    def __init__(self):
        super().__init__()
        pairs = list(zip(CHANNELS, CHANNELS[1:]))
        convs = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairs]
        self.backbone = nn.ModuleList(convs[:-1])
        self.head = convs[-1]

    def loss(self, images, samples):
        for conv in self.backbone:
            images = conv(images).relu()
        return dict(loss_a=self.head(images).square().mean(), accuracy=torch.ones(1))


def closed_form(frozen, images):
    """2 * C_in * C_out * 9 * H * W for the forward pass, and as much for each gradient asked for:
    of the weights where they train, of the input where something before it trains."""
    one = [2 * a * b * 9 * SIZE * SIZE * images for a, b in zip(CHANNELS, CHANNELS[1:])]
    forward, backward = sum(one), 0
    for i, cost in enumerate(one):
        if i >= frozen:
            backward += cost  # of the weights
        if i > frozen:
            backward += cost  # of the input, which a trained layer made
    return forward, backward


@pytest.mark.newer_torch
@pytest.mark.parametrize('frozen', [0, 1, 2])
@pytest.mark.parametrize('images', [1, 3])
def test_frozen_prefixes_against_the_closed_form(frozen, images):
    model = Chain()
    model.backbone[:frozen].requires_grad_(False)
    flops = training_flops(model, torch.rand(images, 3, SIZE, SIZE), [])
    assert (flops.forward, flops.backward) == closed_form(frozen, images)
    assert flops.total == sum(flops.by_operator.values())


@pytest.mark.newer_torch
def test_freezing_the_last_layers_saves_only_their_weights():
    model = Chain()
    model.backbone[1].requires_grad_(False)
    flops = training_flops(model, torch.rand(1, 3, SIZE, SIZE), [])
    weights = 2 * CHANNELS[1] * CHANNELS[2] * 9 * SIZE * SIZE
    assert flops.backward == closed_form(0, 1)[1] - weights


@pytest.mark.newer_torch
def test_counting_leaves_no_trace():
    config = Config(dict(model=rig.detector('oriented-rcnn'), train_dataloader=ROTATED))
    model = rig.build(config.model)
    model.train()
    batch = inputs.draw_batch(config, model, (64, 64))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    training_flops(model, *batch)
    assert torch.equal(random, torch.get_rng_state())
    assert not rig.equal(before, dict(model.state_dict()))
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())


def test_nothing_to_train_is_an_error():
    model = Chain().requires_grad_(False)
    with pytest.raises(ValueError, match='no parameter that requires a gradient'):
        training_flops(model, torch.rand(1, 3, SIZE, SIZE), [])


@pytest.mark.newer_torch
@pytest.mark.parametrize(
    ('losses', 'named'),
    [
        (lambda x: dict(accuracy=x), "'accuracy'"),
        (lambda x: dict(loss=x.detach()), "'loss'"),
        (lambda x: dict(loss=[]), "'loss'"),
        (lambda x: (x,), 'tuple'),
    ],
)
def test_losses_without_a_gradient_are_an_error(losses, named):
    model = Chain()
    model.loss = lambda images, samples: losses(model.backbone[0](images).sum())
    with pytest.raises(ValueError, match=f'that depend on a parameter that trains, got .*{named}'):
        training_flops(model, torch.rand(1, 3, SIZE, SIZE), [])


@pytest.mark.newer_torch
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_types_and_a_caller_without_gradients(dtype):
    with torch.no_grad():
        flops = training_flops(Chain().to(dtype), torch.rand(1, 3, SIZE, SIZE, dtype=dtype), [])
    assert (flops.forward, flops.backward) == closed_form(0, 1)


def planned(model, batch, freezer, schedule, length, report=None):
    plan = FreezePlan(schedule, freezer.stage_map)
    return plan_runs(model, batch, freezer, [plan], length, report)[0]


@pytest.mark.newer_torch
def test_a_plan_adds_up():
    model = Chain()
    freezer = Freezer(model, StageMap.of(model))
    images = torch.rand(2, 3, SIZE, SIZE)
    seen = []
    plan = planned(
        model, (images, []), freezer, StepFreezing(4), 10, lambda *done: seen.append(done)
    )
    full, frozen = sum(closed_form(0, 1)), sum(closed_form(2, 1))
    assert plan.training_flops == 3 * full + 7 * frozen
    assert plan.full_training_flops == 10 * full
    assert plan.saving == pytest.approx(0.7 * (1 - frozen / full))
    assert seen == [(1, 2), (2, 2)]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.newer_torch
def test_a_frozen_schedule_is_compared_with_full_training():
    model = Chain()
    freezer = Freezer(model, StageMap.of(model))
    schedule = build_schedule(dict(type='FrozenBackbone'))
    plan = planned(model, (torch.rand(1, 3, SIZE, SIZE), []), freezer, schedule, 5)
    assert plan.full_training_flops == 5 * sum(closed_form(0, 1))


ROTATED = dict(
    dataset=dict(
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
            dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
            dict(type='mmdet.Resize', scale=(1024, 800), keep_ratio=True),
        ]
    )
)


@pytest.mark.parametrize(
    'steps, divisor, expected',
    [
        ([dict(type='Resize', scale=(1333, 800))], 32, (800, 1344)),
        ([dict(type='RandomChoiceResize', scales=[(480, 1333), (800, 1333)])], 1, (1333, 800)),
        ([dict(type='Pad', size=(9, 9)), dict(type='Resize', scale=(64, 32))], 1, (32, 64)),
        (
            [dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=(70, 50))]])],
            32,
            (64, 96),
        ),
    ],
)
def test_input_shape_is_read_off_the_pipeline(steps, divisor, expected):
    config = dict(
        model=dict(data_preprocessor=dict(pad_size_divisor=divisor)),
        train_dataloader=dict(dataset=dict(dataset=dict(pipeline=steps))),
    )
    assert inputs.input_shape(config) == expected


def test_no_input_size_is_asked_for():
    with pytest.raises(ValueError, match='--shape HEIGHT WIDTH'):
        inputs.input_shape(dict(model={}, train_dataloader=dict(dataset=dict(pipeline=[]))))


@pytest.mark.newer_torch
@pytest.mark.parametrize('wrap', [lambda backbone: backbone, rig.with_blocks])
@pytest.mark.parametrize('channels', [1, 4])
def test_images_of_other_than_three_channels(channels, wrap):
    """Case 21: the batch is drawn with as many as the backbone takes."""
    detector = rig.detector('retinanet', wrap(rig.resnet(in_channels=channels)))
    for key in ('mean', 'std', 'bgr_to_rgb'):
        detector['data_preprocessor'].pop(key, None)
    config = Config(dict(model=detector, train_dataloader=dict(dataset={})))
    model = rig.build(config.model)
    images, samples = inputs.draw_batch(config, model, (64, 96), images=2)
    assert images.shape == (2, channels, 64, 96)
    assert training_flops(model, images, samples).forward > 0


def test_a_preprocessor_that_takes_no_such_images_is_named():
    """Case 21: MMDetection's own normalises 1 or 3 channels."""
    detector = rig.detector('retinanet', rig.resnet(in_channels=4))
    detector['data_preprocessor'].update(mean=[100.0] * 4, std=[50.0] * 4)
    with pytest.raises(ValueError, match='images of 4 channels need a data_preprocessor'):
        build_model(Config(dict(model=detector)))
