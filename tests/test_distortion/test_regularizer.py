"""The penalty against closed forms and a naive float64 reference; what it covers; bad input."""

import math

import pytest
import rig
import torch
from torch import nn

from mmbackbone_plugins import StageMap, add_penalty_gradient
from mmbackbone_plugins.distortion import Coverage, Penalty
from mmbackbone_plugins.distortion.regularizer import compare


def model(seed=0):
    """A convolution, a linear layer, a norm: all shapes of importance that there are."""
    torch.manual_seed(seed)
    net = nn.ModuleDict(
        dict(conv=nn.Conv2d(3, 4, 3), point=nn.Conv2d(4, 5, 1), linear=nn.Linear(5, 6))
    )
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    return net, {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in net.named_parameters()}


def weights_of(net, per_kernel):
    shapes = {
        n: (*p.shape[:2], 1, 1) if per_kernel and p.dim() == 4 else p.shape
        for n, p in net.named_parameters()
    }
    return {n: torch.rand(shape) * 5 for n, shape in shapes.items()}


def naive_step(p, g, theta0, importance, coeff, lr):
    """A plain SGD step, entry by entry in float64."""
    p, g, theta0 = p.double(), g.double(), theta0.double()
    if importance is None:
        strength = torch.full_like(p, coeff)
    else:
        strength = (coeff * importance.double()).expand_as(p).clone()
        strength = torch.minimum(strength.clamp(min=0), torch.full_like(p, 1 / lr))
    return p - lr * (g + strength * (p - theta0))


@pytest.mark.parametrize('per_kernel', (None, False, True), ids=('uniform', 'entry', 'kernel'))
@pytest.mark.parametrize('coeff', (0.0, 0.1, 30.0), ids=('none', 'free', 'clipped'))
def test_one_step_is_the_closed_form(per_kernel, coeff):
    net, theta0 = model()
    importance = None if per_kernel is None else weights_of(net, per_kernel)
    lr, params = 0.02, dict(net.named_parameters())
    wanted = {
        n: naive_step(
            p.detach(), p.grad, theta0[n], importance[n] if importance else None, coeff, lr
        )
        for n, p in params.items()
    }
    if importance and coeff == 30.0:
        reached = torch.cat([(coeff * i > 1 / lr).flatten() for i in importance.values()])
        assert 0.1 < reached.float().mean() < 0.9  # both sides of the limit are tried
    add_penalty_gradient(params, theta0, importance, coeff, lr)
    torch.optim.SGD(net.parameters(), lr=lr).step()
    for name, p in params.items():
        torch.testing.assert_close(p.detach().double(), wanted[name], rtol=1e-6, atol=1e-6)


def test_nothing_is_added_at_theta0():
    net, _ = model()
    params = dict(net.named_parameters())
    before = {n: p.grad.clone() for n, p in params.items()}
    theta0 = {n: p.detach().clone() for n, p in params.items()}
    add_penalty_gradient(params, theta0, weights_of(net, True), 1e6, 0.1)
    add_penalty_gradient(params, theta0, None, 1e6, 0.1)
    assert all(torch.equal(p.grad, before[n]) for n, p in params.items())


def test_every_group_has_its_own_limit():
    net, theta0 = model()
    params = dict(net.named_parameters())
    rates = {n: 0.5 if n.startswith('conv') else 0.001 for n in params}
    gradients = {n: p.grad.clone() for n, p in params.items()}
    importance = {n: torch.ones_like(p) for n, p in params.items()}
    add_penalty_gradient(params, theta0, importance, 10.0, rates)
    for name, p in params.items():
        strength = 2.0 if name.startswith('conv') else 10.0  # 1 / 0.5; 1 / 0.001 is out of reach
        wanted = gradients[name] + strength * (p.detach() - theta0[name])
        torch.testing.assert_close(p.grad, wanted)


def test_a_rate_of_zero_limits_nothing():
    net, theta0 = model()
    params = dict(net.named_parameters())
    importance = {n: torch.ones_like(p) for n, p in params.items()}
    add_penalty_gradient(params, theta0, importance, 1e3, 0.0)
    assert all(torch.isfinite(p.grad).all() for p in params.values())


def test_negative_importance_pushes_nothing_away():
    net, theta0 = model()
    params = dict(net.named_parameters())
    before = {n: p.grad.clone() for n, p in params.items()}
    add_penalty_gradient(params, theta0, {n: -torch.ones_like(p) for n, p in params.items()}, 1, 1)
    assert all(torch.equal(p.grad, before[n]) for n, p in params.items())


def test_frozen_parameters_are_left_alone():
    net, theta0 = model()
    net['conv'].weight.grad = None
    before = net['conv'].weight.detach().clone()
    add_penalty_gradient(dict(net.named_parameters()), theta0, None, 1.0, 0.1)
    assert net['conv'].weight.grad is None and torch.equal(net['conv'].weight, before)


def test_gradients_that_still_carry_a_loss_scale():
    """A fused optimizer divides what it finds by the scale, the penalty with it."""
    net, theta0 = model()
    other, _ = model()
    scale = torch.tensor(1024.0)
    for p in other.parameters():
        p.grad.mul_(scale)
    importance = weights_of(net, True)
    first = Penalty(dict(net.named_parameters()), theta0, importance, 0.3)
    second = Penalty(dict(other.named_parameters()), theta0, importance, 0.3)
    a, b = first.measure(0.01), second.measure(0.01, scale)
    torch.testing.assert_close(a.numbers, b.numbers)
    first.add(0.01)
    second.add(0.01, scale)
    for p, q in zip(net.parameters(), other.parameters()):
        torch.testing.assert_close(p.grad, q.grad / scale)


@pytest.mark.parametrize('coeff', (0.2, 300.0), ids=('free', 'clipped'))
@pytest.mark.parametrize('uniform', (True, False))
def test_the_measured_numbers_are_their_definitions(coeff, uniform):
    net, theta0 = model()
    params, lr = dict(net.named_parameters()), 0.02
    importance = None if uniform else weights_of(net, True)
    before = {n: p.grad.clone().double() for n, p in params.items()}
    penalty = Penalty(params, theta0, importance, coeff)
    pull = penalty.measure(lr)
    assert all(torch.equal(p.grad.double(), before[n]) for n, p in params.items())
    groups = dict(conv=[n for n in params if n.startswith('conv')], none=[])
    value, ratio, ratios = compare([pull], groups)
    penalty.add(lr)
    added = {n: p.grad.double() - before[n] for n, p in params.items()}
    norm = lambda d, names: math.sqrt(sum(float((d[n] ** 2).sum()) for n in names))  # noqa: E731
    moved = {n: p.detach().double() - theta0[n].double() for n, p in params.items()}
    assert ratio == pytest.approx(norm(added, params) / norm(before, params), rel=1e-4)
    inside = groups['conv']
    assert ratios == dict(conv=pytest.approx(norm(added, inside) / norm(before, inside), rel=1e-4))
    energy = sum(float((added[n] * moved[n]).sum()) / 2 for n in params)
    assert value == pytest.approx(energy, rel=1e-4)


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
@pytest.mark.parametrize('per_kernel', (None, False, True), ids=('uniform', 'entry', 'kernel'))
@pytest.mark.parametrize('size', (1.0, 1e8, 1e30), ids=('small', 'large', 'huge'))
@pytest.mark.parametrize('contiguous', (True, False))
def test_half_precision(dtype, per_kernel, size, contiguous):
    """Any importance and any distance: the closed form as near as the gradients' type comes."""
    net, theta0 = model()
    net.to(dtype)
    if not contiguous:
        net.to(memory_format=torch.channels_last)
    theta0 = {n: t.to(dtype) for n, t in theta0.items()}
    theta0['linear.weight'] = -60000 * torch.ones_like(theta0['linear.weight'])
    net['linear'].weight.data.fill_(60000)  # their difference is more than float16 holds
    params, lr, coeff = dict(net.named_parameters()), 0.02, 0.5
    importance = None if per_kernel is None else weights_of(net, per_kernel)
    importance = importance and {n: t * size for n, t in importance.items()}
    before = {n: p.grad.clone() for n, p in params.items()}
    before['conv.bias'][0] = params['conv.bias'].grad[0] = math.inf
    penalty = Penalty(params, theta0, importance, coeff)
    pull = penalty.measure(lr)
    penalty.add(lr)
    limit, total = torch.finfo(dtype).max, 0.0
    for name, p in params.items():
        strength = torch.tensor(coeff).double()
        if importance:
            strength = (coeff * importance[name].double()).clamp(0, 1 / lr)
        moved = p.detach().double() - theta0[name].double()
        total += float((strength * moved * moved).sum()) / 2
        wanted = (before[name].double() + strength * moved).clamp(-limit, limit)
        wanted[before[name].isinf()] = math.inf
        torch.testing.assert_close(p.grad, wanted.to(dtype), rtol=1e-2, atol=1e-3)
    assert compare([pull], {})[0] == pytest.approx(total, rel=1e-5)


def test_float32_at_its_limits():
    """Products that leave float32 on the way, or would with the importance alone."""
    p = nn.Parameter(torch.tensor([1.0, 2.0]))
    p.grad = torch.zeros(2)
    start, huge = dict(p=torch.tensor([1.0, 1.0])), dict(p=torch.full((2,), 3e38))
    for importance, coeff, lr, wanted in (
        (huge, 1e3, 0.1, 10.0),
        (huge, 1e300, 0.1, 10.0),
        (huge, 1e3, 0.0, torch.finfo(torch.float32).max),
        (None, 1e300, 0.1, torch.finfo(torch.float32).max),
        (None, 0.0, 0.1, 0.0),
    ):
        p.grad.zero_()
        penalty = Penalty(dict(p=p), start, importance, coeff)
        penalty.add(lr)
        assert p.grad.tolist() == [0.0, pytest.approx(wanted)]
    p.grad = torch.full((2,), 1e-30)
    tiny = Penalty(dict(p=p), dict(p=p.detach() - 1e-7), None, 1e-25)
    _, ratio, _ = compare([tiny.measure(0.1)], {})
    added = math.hypot(*(p.detach().double() - tiny._anchor['p'].double()).tolist()) * 1e-25
    assert ratio == pytest.approx(added / math.hypot(1e-30, 1e-30), rel=1e-5, abs=0)


@pytest.mark.parametrize('uniform', (True, False))
@pytest.mark.parametrize('capped', (True, False, None))
def test_the_limit_is_a_choice(capped, uniform):
    net, theta0 = model()
    params, lr, coeff = dict(net.named_parameters()), 0.5, 30.0
    before = {n: p.grad.clone() for n, p in params.items()}
    importance = None if uniform else {n: torch.ones_like(p) for n, p in params.items()}
    add_penalty_gradient(params, theta0, importance, coeff, lr, capped=capped)
    limited = capped if capped is not None else not uniform
    for name, p in params.items():
        wanted = before[name] + (2.0 if limited else coeff) * (p.detach() - theta0[name])
        torch.testing.assert_close(p.grad, wanted)


def test_parameters_without_entries_and_arrays():
    empty, p = nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.ones(2))
    empty.grad, p.grad = torch.zeros(0, 3), torch.zeros(2)
    start = {n: q.detach().numpy() * 0 for n, q in dict(empty=empty, p=p).items()}
    ones = {n: q + 1 for n, q in start.items()}
    pairs = [('empty', empty), ('p', p)]
    add_penalty_gradient(pairs, start, ones, 0.5, 0.1)
    assert p.grad.tolist() == [0.5, 0.5]
    value, ratio, _ = compare([Penalty(pairs, start, None, 1.0).measure(0.1)], {})
    assert value == 1.0 and ratio == pytest.approx(2.0)


def test_no_memory_but_one_buffer():
    net, theta0 = model()
    penalty = Penalty(dict(net.named_parameters()), theta0, weights_of(net, True), 0.1)
    penalty.add(0.01)
    (buffer,) = penalty._buffers.values()
    assert buffer.numel() == max(p.numel() for p in net.parameters())


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize('coeff', (-0.1, math.nan, math.inf, '0.1', None, True))
def test_bad_strengths(coeff):
    net, theta0 = model()
    with pytest.raises(ValueError, match='coeff must be a finite number of at least 0, got'):
        add_penalty_gradient(dict(net.named_parameters()), theta0, None, coeff, 0.1)


@pytest.mark.parametrize('rate', (-0.1, math.nan, math.inf, None, '0.1'))
@pytest.mark.parametrize('named', (True, False))
@pytest.mark.parametrize('uniform', (True, False))
def test_bad_rates_change_nothing(rate, named, uniform):
    net, theta0 = model()
    params = dict(net.named_parameters())
    before = [p.grad.clone() for p in params.values()]
    importance = None if uniform else weights_of(net, True)
    lr = {**dict.fromkeys(params, 0.1), 'linear.bias': rate} if named else rate
    with pytest.raises(ValueError, match='lr must be a finite number of at least 0, got'):
        add_penalty_gradient(params, theta0, importance, 0.1, lr)
    with pytest.raises(ValueError, match="lr has no entry for parameter 'point.weight'"):
        add_penalty_gradient(params, theta0, importance, 0.1, {'conv.weight': 1, 'conv.bias': 1})
    assert all(torch.equal(p.grad, g) for p, g in zip(params.values(), before))


def test_anchor_and_importance_must_fit():
    net, theta0 = model()
    params = dict(net.named_parameters())
    with pytest.raises(ValueError, match="anchor has no entry for parameter 'conv.weight'"):
        add_penalty_gradient(params, {}, None, 0.1, 0.1)
    wrong = dict(theta0, **{'conv.weight': torch.zeros(1, 3, 3, 3)})
    with pytest.raises(ValueError, match=r"anchor of 'conv.weight' has shape \(1, 3, 3, 3\)"):
        add_penalty_gradient(params, wrong, None, 0.1, 0.1)
    importance = dict(weights_of(net, True), **{'conv.weight': torch.zeros(2, 3, 1, 1)})
    with pytest.raises(ValueError, match="importance of 'conv.weight' has shape"):
        add_penalty_gradient(params, theta0, importance, 0.1, 0.1)
    importance = dict(weights_of(net, True), **{'linear.bias': torch.full((6,), math.nan)})
    with pytest.raises(ValueError, match="importance of 'linear.bias' has NaN or Inf"):
        add_penalty_gradient(params, theta0, importance, 0.1, 0.1)
    broken = dict(theta0, **{'conv.bias': torch.full((4,), math.inf)})
    with pytest.raises(ValueError, match="anchor of 'conv.bias' has NaN or Inf"):
        add_penalty_gradient(params, broken, None, 0.1, 0.1)
    turned = dict(theta0, **{'conv.bias': torch.ones(4) * 1j})
    with pytest.raises(ValueError, match="anchor of 'conv.bias': the penalty is one on real"):
        add_penalty_gradient(params, turned, None, 0.1, 0.1)


# -- coverage --------------------------------------------------------------------------------------


def test_coverage_says_what_is_left_and_why():
    net = rig.build(rig.detector(backbone=rig.resnet(frozen_stages=1)))
    stage_map = StageMap.of(net)
    trains = frozenset(n for n, p in net.named_parameters() if p.requires_grad)
    found = Coverage.of(net, stage_map, ['*.bn?.*'], trains)
    assert set(found.covered) | set(found.skipped) == set(stage_map.parameters)
    assert not set(found.covered) & set(found.skipped)
    assert found.skipped['backbone.conv1.weight'] == 'never trains'
    assert found.skipped['backbone.layer2.0.bn1.weight'] == "exclude '*.bn?.*'"
    assert 'backbone.layer2.0.conv1.weight' in found.covered
    rows = {line.split()[0]: line for line in found.table(stage_map, net).splitlines()}
    assert rows['stem'].endswith('never trains') or 'never trains' in rows['stem']
    held = sum(p.numel() for n, p in net.named_parameters() if n.startswith('backbone.layer4'))
    left = sum(p.numel() for n, p in net.named_parameters() if n in found.skipped and 'layer4' in n)
    assert rows['stage4'].split()[1:3] == [f'{held - left:,}', f'{left:,}']


def test_added_blocks_are_left():
    net = nn.ModuleDict(dict(backbone=nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))))
    net['backbone'][1].is_added_block = True
    found = Coverage.of(net, StageMap.of(net))
    assert found.covered == ('backbone.0.weight', 'backbone.0.bias')
    assert set(found.skipped.values()) == {'added block'}


def test_a_pattern_without_a_match_is_an_error():
    net = rig.build(rig.detector())
    with pytest.raises(ValueError, match=r"exclude: the pattern 'layer9\*' matches no parameter"):
        Coverage.of(net, StageMap.of(net), ['layer9*'])


def test_nothing_to_regularise_is_an_error():
    net = rig.build(rig.detector())
    with pytest.raises(ValueError, match='nothing to regularise'):
        Coverage.of(net, StageMap.of(net), ['*'])
    with pytest.raises(ValueError, match=r'nothing to regularise.*never trains'):
        Coverage.of(net, StageMap.of(net), (), frozenset())
