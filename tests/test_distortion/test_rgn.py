"""RGN against an independent, naive float64 implementation; aggregates, flags, bad input."""

import json
import math

import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import StageMap, relative_gradient_norm
from mmbackbone_plugins.distortion import (
    Measurement,
    RGNTable,
    aggregate,
    average,
    frozen_stages,
    measure,
)


def naive(name_and_parameter, granularity, eps=1e-8):
    """From the definitions, element by element in float64, without anything of the package."""
    found = {}
    for name, p in name_and_parameter:
        if p.grad is None:
            continue
        g, w = p.grad.double(), p.detach().double()
        if granularity == 'tensor':
            found[name] = ((g * g).sum().sqrt() / ((w * w).sum().sqrt() + eps)).item()
            continue
        g, w = abs(g), abs(w)
        if g.dim() == 4:
            g, w = g.sum(3).sum(2), w.sum(3).sum(2)
        found[name] = (g / (w + eps)).mean().item()
    return found


def backward(model, count=2):
    """Gradients of the detection loss on a batch."""
    torch.manual_seed(0)
    model.init_weights()
    model.train()
    scenes = [rig.DrawnScenes(8, rotated=rig.is_rotated(model.kind))[i] for i in range(count)]
    batch = {k: [item[k] for item in scenes] for k in scenes[0]}
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return model


def built(kind='retinanet', backbone=None):
    cfg = rig.detector(kind, backbone)
    model = rig.build(cfg)
    model.kind = cfg
    return model


def relative(ours, theirs):
    assert ours.keys() == theirs.keys() and ours
    return max(abs(ours[k] - theirs[k]) / abs(theirs[k]) for k in ours if theirs[k])


def full_size():
    """A ResNet-18 of full width, for kernels of 2.4 million weights."""
    cfg = rig.detector(backbone=dict(rig.resnet(), base_channels=64))
    cfg['neck'].update(in_channels=[64, 128, 256, 512])
    model = rig.build(cfg)
    model.kind = cfg
    return model


MODELS = {
    'retinanet': built,
    'full-size-resnet18': full_size,
    'rotated': lambda: built('rotated-retinanet'),
    'two-stage': lambda: built('oriented-rcnn'),
    'swin': lambda: built(backbone=rig.swin()),
}


@pytest.fixture(scope='module', params=MODELS)
def detector(request):
    return backward(MODELS[request.param]())


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_every_tensor_of_a_real_detector(detector, granularity):
    ours = relative_gradient_norm(detector.named_parameters(), granularity)
    theirs = naive(detector.named_parameters(), granularity)
    assert relative(ours, theirs) < 1e-5
    backbone = {n: p for n, p in detector.named_parameters() if n.startswith('backbone.')}
    assert relative_gradient_norm(backbone, granularity) == {n: ours[n] for n in backbone}


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
@pytest.mark.parametrize('shape', [(2048, 1152), (512, 512, 3, 3), (9437, 251), (1000003,)])
@pytest.mark.parametrize('layout', ['plain', 'channels_last', 'transposed'])
def test_large_tensors_of_any_layout(granularity, shape, layout):
    """Where torch's own float32 norm on a CPU is off by 4e-5 and more."""
    g = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(shape, generator=g) ** 3)
    p.grad = torch.randn(shape, generator=g) ** 3
    if layout == 'channels_last' and len(shape) == 4:
        p.data = p.data.to(memory_format=torch.channels_last)
        p.grad = p.grad.to(memory_format=torch.channels_last)
    elif layout == 'transposed' and len(shape) == 2:
        p.data, p.grad = p.data.t(), None
        p.grad = torch.randn(p.shape, generator=g)
    ours = relative_gradient_norm([('p', p)], granularity)
    assert relative(ours, naive([('p', p)], granularity)) < 2e-6


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_other_dtypes(dtype, granularity):
    p = nn.Parameter(torch.randn(64, 64, 3, 3).to(dtype))
    p.grad = 300 * torch.randn(64, 64, 3, 3).to(dtype)  # the sum of squares overflows in half
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    ours = relative_gradient_norm([('p', p)], granularity)
    assert relative(ours, naive([('p', p)], granularity)) < limit


SIZES = [  # type, of the gradient, of the weights
    *((torch.float32, size, 1.0) for size in (1e20, 1e-24, 3e36)),
    *((torch.float32, 1.0, size) for size in (1e20, 1e-7)),
    (torch.float32, 1e20, 1e25),
    *((torch.bfloat16, size, 1.0) for size in (1e30, 1e-30)),
    (torch.float16, 6e4, 1e-4),
    *((torch.float64, size, 1.0) for size in (1e200, 1e-200)),
]


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
@pytest.mark.parametrize(('dtype', 'pulled', 'size'), SIZES)
def test_gradients_and_weights_of_any_size(granularity, dtype, pulled, size):
    g = torch.Generator().manual_seed(0)
    weight, gradient = (torch.rand(6, 5, 3, 3, generator=g).double() + 0.1 for _ in range(2))
    p = nn.Parameter((weight * size).to(dtype))
    p.grad = (gradient * pulled).to(dtype)
    ours = relative_gradient_norm([('p', p)], granularity)['p']
    near = nn.Parameter(p.detach().double() / size)  # the same near 1, where nothing overflows
    near.grad = p.grad.double() / pulled
    theirs = naive([('p', near)], granularity, eps=1e-8 / size)['p'] * (pulled / size)
    assert ours == pytest.approx(theirs, rel=1e-6, abs=0)


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_parameters_without_entries_scalars_and_complex_ones(granularity):
    shapes = dict(empty=(0, 3), scalar=(), entry=(1,), window=(2, 2, 0, 3))
    pairs = {name: nn.Parameter(torch.full(shape, 2.0)) for name, shape in shapes.items()}
    pairs['complex'] = nn.Parameter(torch.tensor([3 + 4j, 3 + 4j]))
    pairs['sparse'] = nn.Parameter(torch.full((2, 2), 2.0))
    for p in pairs.values():
        p.grad = torch.full_like(p, 1.0)
    pairs['sparse'].grad = pairs['sparse'].grad.to_sparse()
    found = relative_gradient_norm(pairs, granularity)
    half = pytest.approx(0.5)
    assert found == dict(scalar=half, entry=half, complex=pytest.approx(0.2), sparse=half)


def test_parameters_without_names():
    p = nn.Parameter(torch.ones(2))  # two entries are no pair
    p.grad = torch.ones(2)
    with pytest.raises(ValueError, match='must be pairs of a name and a parameter'):
        relative_gradient_norm([p])


@pytest.mark.parametrize('bad', [-1e-8, math.nan, math.inf, None])
def test_a_bad_eps(bad):
    with pytest.raises(ValueError, match='eps must be a finite number of at least 0, got'):
        relative_gradient_norm([], 'tensor', bad)


def test_frozen_parameters_are_left_out_not_zero():
    frozen, idle, pulled = (nn.Parameter(torch.ones(3)) for _ in range(3))
    frozen.requires_grad_(False)
    pulled.grad = torch.zeros(3)
    pairs = dict(frozen=frozen, idle=idle, pulled=pulled)
    for granularity in ('tensor', 'kernel'):
        assert relative_gradient_norm(pairs, granularity) == {'pulled': 0.0}
    assert relative_gradient_norm([], 'tensor') == {}


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_nan_and_inf_are_reported(granularity, bad):
    good, broken = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(8, 8, 3, 3))
    good.grad, broken.grad = torch.ones(3), torch.ones(8, 8, 3, 3)
    broken.grad[1, 2, 0, 1] = bad
    found = relative_gradient_norm(dict(good=good, broken=broken), granularity)
    assert found['good'] == pytest.approx(1)
    assert math.isnan(found['broken']) if math.isnan(bad) else found['broken'] == math.inf


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_a_tensor_of_zeros_gives_a_large_number_and_no_error(granularity):
    p = nn.Parameter(torch.zeros(4))
    p.grad = torch.ones(4)
    value = relative_gradient_norm([('p', p)], granularity)['p']
    assert value == pytest.approx((2 if granularity == 'tensor' else 1) / 1e-8)


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
@pytest.mark.parametrize('scale', [1.0, 1024.0, 65536.0])
def test_a_loss_scale_divides_out_exactly(detector, granularity, scale):
    pairs = [(n, p) for n, p in detector.named_parameters() if n.startswith('backbone.')]
    true = measure(pairs, granularity).read()
    for _, p in pairs:
        p.grad *= scale
    scaled = measure(pairs, granularity, scale=torch.tensor(scale)).read()
    for _, p in pairs:
        p.grad /= scale
    assert scaled == true


@pytest.mark.parametrize('bad', ['layer', '', None, 3])
def test_an_unknown_granularity(bad):
    with pytest.raises(ValueError, match=r"granularity must be one of 'tensor', 'kernel', got"):
        relative_gradient_norm([], bad)


class _Transfers(torch.overrides.TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, '__name__', '')
        self.count += name in ('item', 'tolist', '__float__', '__bool__', 'cpu', 'numpy')
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('granularity', ['tensor', 'kernel'])
def test_the_device_is_waited_for_once(detector, granularity):
    with _Transfers() as transfers:
        relative_gradient_norm(detector.named_parameters(), granularity)
    assert transfers.count == 1


def test_no_allocation_of_the_size_of_the_backbone():
    p = [nn.Parameter(torch.randn(512, 512, 3, 3)) for _ in range(4)]
    for q in p:
        q.grad = torch.randn_like(q)
    pairs = [(str(i), q) for i, q in enumerate(p)]
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        relative_gradient_norm(pairs, 'tensor')
    allocated = sum(max(e.self_cpu_memory_usage, 0) for e in profile.key_averages())
    assert 0 < allocated < 0.01 * sum(rig.nbytes(q) for q in p)


def test_aggregates():
    values = dict(a=1.0, b=2.0, c=9.0)
    numels = dict(a=1, b=1, c=2)
    found = aggregate(values, numels)
    assert (found.mean, found.weighted, found.median) == (4.0, 21 / 4, 2.0)
    assert (found.tensors, found.entries) == (3, 4)
    assert aggregate(dict(a=1.0, b=2.0), numels).median == 1.5
    assert aggregate({}, numels) is None
    for bad in (math.inf, math.nan):
        broken = aggregate(dict(values, b=bad), numels)
        for number in (broken.mean, broken.weighted, broken.median):
            assert math.isnan(number) if math.isnan(bad) else number == math.inf


def test_the_mean_over_batches_is_a_mean_of_ratios():
    one = Measurement(dict(a=1.0, b=3.0), dict(a=1.0, b=1.0), dict(a=2, b=2))
    two = Measurement(dict(a=3.0), dict(a=1.0), dict(a=2))
    assert average([one, two]).values == dict(a=2.0, b=3.0)
    nan = Measurement(dict(a=math.nan), dict(a=1.0), dict(a=2))
    assert math.isnan(average([one, nan]).values['a'])
    with pytest.raises(ValueError, match='loader is empty'):
        average([])


def test_the_table_of_a_detector():
    model = built(backbone=rig.resnet(frozen_stages=1))
    with torch.no_grad():
        model.backbone.layer3[0].bn1.weight.fill_(1e-6)
    backward(model)
    with torch.no_grad():
        model.backbone.layer3[0].bn1.weight.fill_(1e-6)  # init_weights has set it again
    stages = StageMap.of(model)
    parameters = dict(model.named_parameters())
    chosen = {n: parameters[n] for n in stages.parameters}
    found = measure(chosen).read()
    table = RGNTable.of(found, stages, frozen_stages(stages, parameters))
    assert table.frozen == ('stem', 'stage1') and not table.without_gradient
    assert table.stages['stem'] is None
    inside = [v for n, v in found.values.items() if n.startswith('backbone.layer4')]
    assert table.stages['stage4'].mean == pytest.approx(sum(inside) / len(inside))
    assert table.network.mean == pytest.approx(sum(found.values.values()) / len(found.values))
    both = [found.values[f'backbone.layer4.0.bn1.{k}'] for k in ('weight', 'bias')]
    assert table.layers['backbone.layer4.0.bn1'].mean == pytest.approx(sum(both) / 2)
    assert 'backbone.layer3.0.bn1.weight' in table.near_zero
    assert 'backbone.layer3.0.bn1.bias' in table.near_zero  # a fresh network's are zero
    assert 'backbone.layer3.0.conv1.weight' not in table.near_zero
    as_json = json.loads(json.dumps(table.to_dict()))
    assert as_json['stages']['stem'] == 'frozen'
    assert as_json['stages']['stage4']['mean'] == table.stages['stage4'].mean
    assert list(as_json['tensors']) == [n for n in stages.parameters if n in found.values]
    text = table.text()
    assert 'frozen' in text and 'almost zero' in text and 'network' in text
