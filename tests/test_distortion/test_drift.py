"""Drift, CKA and anchors against plain formulas."""

import math
import threading

import numpy as np
import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import StageMap
from mmbackbone_plugins.distortion import (
    Anchor,
    feature_similarity,
    linear_cka,
    statistics_drift,
    weight_drift,
)
from mmbackbone_plugins.utils.untouched import modules_of, untouched


def test_weight_drift_is_that_of_one_long_vector():
    g = torch.Generator().manual_seed(0)
    start = {n: torch.randn(64, 700, generator=g) for n in 'abc'}
    now = {n: t + 0.1 * torch.randn(t.shape, generator=g) for n, t in start.items()}
    found = weight_drift(now, start, dict(first=['a'], rest=['b', 'c']))
    flat = {n: (now[n].double().numpy().ravel(), start[n].double().numpy().ravel()) for n in 'abc'}
    for group, names in dict(first='a', rest='bc').items():
        a = np.concatenate([flat[n][0] for n in names])
        b = np.concatenate([flat[n][1] for n in names])
        assert found[group] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-5)


def test_weight_drift_of_nothing_and_from_zeros():
    zeros, ones = torch.zeros(3), torch.ones(3)
    assert weight_drift(dict(a=ones), dict(a=ones), dict(g=['a'])) == dict(g=0.0)
    assert weight_drift(dict(a=zeros), dict(a=zeros), dict(g='a')) == dict(g=0.0)
    assert weight_drift(dict(a=ones), dict(a=zeros), dict(g='a')) == dict(g=math.inf)
    with pytest.raises(ValueError, match='1 tensors have no reference to drift from: b'):
        weight_drift(dict(a=ones, b=ones), dict(a=ones), dict(g='ab'))


@pytest.mark.parametrize(
    ('dtype', 'size', 'step'),
    [
        (torch.float16, 6e4, -1.2e5),  # the difference is beyond the type
        (torch.float16, 100.0, 0.0625),  # its square below
        (torch.bfloat16, 1e30, 1e29),
        (torch.float32, 1e25, 1e24),
        (torch.float32, 1e-30, 1e-31),
        (torch.float64, 1e200, 1e199),
    ],
)
def test_weight_drift_of_any_type_and_size(dtype, size, step):
    start = torch.full((30, 40), size, dtype=torch.float64).to(dtype)
    now = (start.double() + step).to(dtype)
    change = float((now.double() - start.double())[0, 0] / start.double()[0, 0])
    found = weight_drift(dict(a=now, b=now), dict(a=start, b=start), dict(one='a', two='ab'))
    assert found == dict.fromkeys(('one', 'two'), pytest.approx(abs(change), rel=1e-6))


def test_weight_drift_of_no_tensors_whole_numbers_and_other_shapes():
    assert weight_drift({}, {}, dict(g=[])) == dict(g=0.0)
    empty, count = torch.zeros(0, 3), torch.tensor(4)
    found = weight_drift(dict(a=empty, b=count), dict(a=empty, b=count - 2), dict(a='a', b='b'))
    assert found == dict(a=0.0, b=1.0)
    arrays = dict(a=np.full(3, 3.0)), dict(a=np.ones(3))
    assert weight_drift(*arrays, dict(g='a')) == dict(g=pytest.approx(2.0))
    with pytest.raises(ValueError, match=r"'a' has shape \(3,\), its reference \(3, 3\)"):
        weight_drift(dict(a=torch.ones(3)), dict(a=torch.ones(3, 3)), dict(g='a'))
    assert math.isnan(weight_drift(dict(a=count * math.nan), dict(a=count), dict(g='a'))['g'])


def test_statistics_drift():
    start = {'n.running_mean': torch.tensor([0.0, 1.0]), 'n.running_var': torch.tensor([4.0, 1.0])}
    now = {'n.running_mean': torch.tensor([2.0, 1.0]), 'n.running_var': torch.tensor([16.0, 1.0])}
    shift, spread = statistics_drift(now, start, ['n.running_mean'])
    assert shift == pytest.approx(math.sqrt(0.5), rel=1e-4)  # one sd in one of two channels
    assert spread == pytest.approx(math.log(2) * math.sqrt(0.5), rel=1e-4)
    assert statistics_drift(start, start, ['n.running_mean']) == (0.0, 0.0)
    assert statistics_drift({}, {}, []) == (0.0, 0.0)
    half = {name: tensor.half() for name, tensor in now.items()}
    assert statistics_drift(half, start, ['n.running_mean']) == (shift, spread)
    nothing = {name: tensor[:0] for name, tensor in now.items()}
    assert statistics_drift(nothing, nothing, ['n.running_mean']) == (0.0, 0.0)
    with pytest.raises(ValueError, match='no reference to drift from: n.running_mean, n.running'):
        statistics_drift(now, {}, ['n.running_mean'])
    with pytest.raises(ValueError, match='its reference'):
        statistics_drift(now, nothing, ['n.running_mean'])


@pytest.mark.parametrize('examples', [30, 300])
def test_linear_cka(examples):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 40)) + 5
    y = np.concatenate([x[:, :20], rng.normal(size=(examples, 60))], axis=1)

    def naive(a, b):  # from the kernel matrices, centred on both sides
        h = np.eye(len(a)) - 1 / len(a)
        k, m = h @ a @ a.T @ h, h @ b @ b.T @ h
        return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())

    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    assert linear_cka(tx, ty) == pytest.approx(naive(x, y), abs=1e-10)
    rotation = torch.from_numpy(np.linalg.qr(rng.normal(size=(40, 40)))[0])
    assert linear_cka(tx, 3 * tx @ rotation + 7) == pytest.approx(1)
    assert linear_cka(tx.float(), tx.float()) == pytest.approx(1)
    assert math.isnan(linear_cka(tx, torch.ones(examples, 3)))


@pytest.mark.parametrize('value', [0.1, 1 / 3, 1e20, -1e-20])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('shape', [(300, 7), (5, 70), (1, 4)])
def test_cka_of_constant_features_is_nan(value, dtype, shape):
    constant = torch.full(shape, value, dtype=dtype)
    other = torch.randn(shape[0], 5)
    assert math.isnan(linear_cka(constant, constant))
    assert math.isnan(linear_cka(other, constant)) and math.isnan(linear_cka(constant, other))


@pytest.mark.parametrize('scale', [1e-30, 1e30])
@pytest.mark.parametrize('examples', [30, 300])
def test_cka_does_not_depend_on_the_scale(scale, examples):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(examples, 40, generator=g), torch.randn(examples, 50, generator=g)
    wanted = linear_cka(x, y)
    assert linear_cka(x * scale, y) == pytest.approx(wanted, rel=1e-5)
    assert linear_cka((x * scale).double() ** 3, y) == pytest.approx(linear_cka(x**3, y), rel=1e-5)
    assert linear_cka(x.numpy(), y.numpy()[:, ::-1].copy()) == pytest.approx(wanted)


def test_cka_of_what_does_not_fit():
    with pytest.raises(ValueError, match=r'x and y must be \(examples, channels\)'):
        linear_cka(torch.ones(3, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match='x and y must be real, got torch.complex64'):
        linear_cka(torch.ones(3, 2) * 1j, torch.ones(3, 2))
    for x in (torch.ones(0, 2), torch.ones(3, 0), torch.full((3, 2), math.nan)):
        assert math.isnan(linear_cka(x, x))


def backbone():
    torch.manual_seed(0)
    return rig.build(rig.detector(backbone=rig.resnet(frozen_stages=1))).backbone


def test_feature_similarity_leaves_no_trace_and_sees_what_changed():
    net = backbone()
    net.train()
    names = [n for n, _ in (*net.named_parameters(), *net.named_buffers())]
    anchor = Anchor.of(net, names)
    images = [torch.randn(1, 3, 64, 64) for _ in range(3)]
    same = feature_similarity(net, images, anchor.tensors)
    assert same == pytest.approx([1.0] * 4)
    with torch.no_grad():
        for p in net.layer3.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    random = torch.get_rng_state()
    found = feature_similarity(net, iter(images), anchor.tensors)
    assert found[:2] == pytest.approx([1.0, 1.0]) and found[2] < 0.99 and found[3] < 0.99
    assert not rig.equal(before, dict(net.state_dict()))
    assert modes == [m.training for m in net.modules()]
    assert torch.equal(random, torch.get_rng_state())
    with pytest.raises(ValueError, match='no images'):
        feature_similarity(net, [], anchor.tensors)


def test_feature_similarity_against_a_second_network():
    """The reference as a network of its own, whose statistics differ too."""
    net, other = backbone(), backbone()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1 + 0.3 * torch.rand_like(p))
        net.bn1.running_mean.add_(0.3)
    reference = dict(other.state_dict())
    images = torch.randn(2, 3, 64, 64)
    found = feature_similarity(net, [images], reference)
    net.eval(), other.eval()
    for value, a, b in zip(found, net(images), other(images)):
        a, b = (torch.nn.functional.adaptive_avg_pool2d(t, min(8, t.shape[2])) for t in (a, b))
        a, b = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (a, b))
        assert value == pytest.approx(linear_cka(a, b), abs=1e-9)


class KeepsBias(nn.Module):
    """Attention biases of LeViT: kept while in eval mode, at once or from the first use on."""

    def __init__(self, lazy: bool) -> None:
        super().__init__()
        self.layer, self.lazy, self.kept = nn.Conv2d(3, 6, 1), lazy, None
        self.bias = nn.Parameter(torch.randn(6, 8, 8))

    def train(self, mode=True):
        super().train(mode)
        self.kept = None if mode or self.lazy else self.bias.detach().clone()
        return self

    def forward(self, x):
        if not self.training and self.kept is None:
            self.kept = self.bias.detach().clone()
        return (self.layer(x) + (self.bias if self.training else self.kept)).relu()


@pytest.mark.parametrize('lazy', [True, False])
@pytest.mark.parametrize('training', [True, False])
def test_feature_similarity_where_modules_keep_things_of_their_weights(lazy, training):
    """Case 19: each of two networks of their own; afterwards the live weights count again."""
    torch.manual_seed(0)
    nets = [nn.Sequential(KeepsBias(lazy)).train(training) for _ in range(2)]
    images = [torch.randn(2, 3, 8, 8) for _ in range(2)]
    found = feature_similarity(nets[0], images, dict(nets[1].state_dict()))
    assert all(m.training == training for m in nets[0].modules())
    live = nets[0](images[0])
    for net in nets:
        net.train(), net.eval()
    assert torch.equal(live, nets[0](images[0]))
    a, b = (torch.cat([net(x).permute(0, 2, 3, 1).flatten(0, 2) for x in images]) for net in nets)
    assert found == pytest.approx([linear_cka(a, b)], abs=1e-9) and found[0] < 0.9


def test_untouched_puts_everything_back_even_after_an_error():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    net[0].requires_grad_(False)
    net[1].weight.grad = gradient = torch.ones(3)
    net[2].eval()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    with pytest.raises(RuntimeError), untouched(net):
        assert net[1].weight.grad is None
        net.train()
        net[0].requires_grad_(True)
        net(torch.randn(5, 3)).sum().backward()
        np.random.rand(3)
        raise RuntimeError
    assert not rig.equal(before, dict(net.state_dict()))
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert not net[0].weight.requires_grad and net[0].weight.grad is None
    assert net[1].weight.grad is gradient and not net[2].training and net.training


def test_an_anchor_is_a_copy_with_a_fingerprint():
    net = backbone()
    names = StageMap.of(net, '').parameters
    anchor = Anchor.of(net, names)
    mark = anchor.fingerprint()
    assert Anchor.of(net, reversed(names)).fingerprint() == mark
    with torch.no_grad():
        net.conv1.weight[0, 0, 0, 0] += 1
    assert anchor.fingerprint() == mark != Anchor.of(net, names).fingerprint()
    assert Anchor.load(anchor.tensors, net, names).fingerprint() == mark
    assert 'tensor' not in repr(anchor)


def test_an_anchor_of_another_model_is_refused():
    net = backbone()
    saved = Anchor.of(net, StageMap.of(net, '').parameters).tensors
    del saved['conv1.weight'], saved['bn1.weight'], saved['bn1.bias']
    saved['layer1.0.conv1.weight'] = torch.ones(3)
    message = r'do not fit this model: conv1.weight \(missing\), .* and 1 more'
    with pytest.raises(ValueError, match=message):
        Anchor.load(saved, net, StageMap.of(net, '').parameters)


class Keeps(nn.Module):
    """A part of a detector that keeps much in itself, none of it in a buffer."""

    def __init__(self, others):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.weight = nn.Parameter(torch.ones(3))
        self.history, self.size, self.limit = [0.5], (64, 64), dict(iou=[0.4])
        self.assigner = self.also = Keeps.Assigner()
        self.lock = threading.Lock()  # cannot be copied
        self.memory = torch.zeros(2)
        self.teacher = [nn.BatchNorm1d(3)]  # outside the module tree
        others.append(self.history)

    class Assigner:
        iou, calls = 0.5, 0

    def forward(self, x):
        self.history.append(x.mean().item())
        self.size = tuple(x.shape)
        self.limit['iou'].append(len(self.history))
        self.assigner.iou = 0.7
        self.assigner.calls += 1
        assert self.also is self.assigner
        self.memory += 1
        self.added, self.extra = 1, nn.Linear(1, 1)
        self.norm.momentum = 0.5
        with torch.no_grad():
            self.weight.mul_(2)
        with self.lock:
            return self.teacher[0](self.norm(x * self.weight))


@pytest.mark.parametrize('fails', (False, True))
def test_untouched_puts_back_whatever_modules_keep_in_themselves(fails):
    others = []
    net = nn.Sequential(Keeps(others))
    part = net[0]
    before = dict(vars(part))
    state = {n: t.clone() for n, t in net.state_dict().items()}
    assigner = dict(vars(part.assigner))
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    try:
        with untouched(net):
            net(torch.randn(4, 3)).sum().backward()
            assert part.size == (4, 3) and part.assigner.iou == 0.7 and len(part.history) == 2
            assert fails is False or 1 / 0
    except ZeroDivisionError:
        pass
    assert calls == [1]
    assert vars(part).keys() == before.keys()
    assert all(vars(part)[name] is value for name, value in before.items())
    assert part.history is others[0] and part.history == [0.5] and part.limit == dict(iou=[0.4])
    assert vars(part.assigner) == assigner and part.memory.tolist() == [0, 0]
    assert part.teacher[0] in modules_of(net)
    assert part.norm.momentum == 0.1 and part.teacher[0].num_batches_tracked == 0
    assert not rig.equal(state, net.state_dict()) and list(part._modules) == ['norm']
