"""Projections after the step, against loops in numpy and float64 that share no code with them."""

import numpy as np
import pytest
import torch

from mmbackbone_plugins.distortion import ball, projection, sums
from mmbackbone_plugins.distortion.projection import projection_kinds

SHAPES = dict(conv=(4, 3, 2, 2), linear=(5, 4), bias=(6,), scale=())
OPTIMIZERS = dict(
    sgd=(torch.optim.SGD, dict(lr=0.1)),
    momentum=(torch.optim.SGD, dict(lr=0.05, momentum=0.9)),
    adam=(torch.optim.Adam, dict(lr=0.02)),
    adamw=(torch.optim.AdamW, dict(lr=0.02, weight_decay=0.1)),
)
STEPS = 12


def drawn(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {n: np.asarray(rng.standard_normal(s), dtype) for n, s in SHAPES.items()}


def gradient(step, p, theta0):
    """Noise, and a pull that changes its side: it asks to go back, and then away again."""
    sign = 1 if step % 5 < 3 else -1
    return {n: drawn(step + 10)[n] + sign * 0.5 * (p[n] - theta0[n]) for n in p}


@pytest.fixture(params=(True, False), ids=('read', 'not read'))
def reads(request, monkeypatch):
    """On a CPU numbers are read where that saves work; on a device nobody waits for them."""
    if not request.param:
        for module in (ball, projection, sums):
            monkeypatch.setattr(module, 'readable', lambda tensor: False)


class Optimizer:
    """SGD, Adam and AdamW written down once more."""

    def __init__(self, name):
        self.options, self.adam = OPTIMIZERS[name][1], 'adam' in name
        self.first, self.second, self.steps = {}, {}, 0

    def __call__(self, p, grads):
        self.steps += 1
        lr, decay = self.options['lr'], self.options.get('weight_decay', 0.0)
        out = {}
        for n, g in grads.items():
            if not self.adam:
                v = self.first[n] = self.options.get('momentum', 0) * self.first.get(n, 0) + g
                out[n] = p[n] - lr * v
                continue
            m = self.first[n] = 0.9 * self.first.get(n, 0) + 0.1 * g
            v = self.second[n] = 0.999 * self.second.get(n, 0) + 0.001 * g * g
            m, v = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            out[n] = p[n] * (1 - lr * decay) - lr * m / (np.sqrt(v) + 1e-8)
        return out


class Spd:
    def __init__(self, coeff):
        self.coeff = coeff

    def __call__(self, p, new, grads, theta0):
        for n in new:
            far, near = (np.sqrt(((q[n] - theta0[n]) ** 2).sum()) for q in (new, p))
            if -(grads[n] * (p[n] - theta0[n])).sum() < 0 and far > 0:
                r = min(max((far - near) / far, 0), 1)
                new[n] = new[n] - self.coeff * r * (new[n] - theta0[n])
        return new


class Ftp:
    def __init__(self, k):
        self.k, self.known = k, {}

    def __call__(self, p, new, grads, theta0):
        for n in new:
            c = new[n] - theta0[n]
            rows = c.reshape(len(c), -1) if c.ndim > 1 else c.reshape(1, -1)
            norms = [sum(abs(x) for x in row) + 1e-8 for row in rows]
            gamma, m, v, t, before = self.known.get(n, (None, 0.0, 0.0, 0, None))
            t += 1
            if gamma is None:
                gamma = 1e-8
            else:
                g = grads[n].reshape(rows.shape)
                slope = sum((g[i] * row).sum() / length for i, (row, length) in enumerate(before))
                slope *= self.k if slope > 0 else 1
                m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
                gamma -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                gamma = min(max(gamma, 1e-8), max(norms))
            self.known[n] = gamma, m, v, t, list(zip(rows.copy(), norms))
            rows = [row * min(gamma / length, 1) for row, length in zip(rows, norms)]
            new[n] = theta0[n] + np.reshape(rows, c.shape)
        return new


NAIVE = dict(spd=Spd, ftp=Ftp)


class Ours:
    def __init__(self, kind, name, value, dtype=torch.float64, start=0):
        self.p = {n: torch.nn.Parameter(torch.tensor(v).to(dtype)) for n, v in drawn(start).items()}
        self.theta0 = {n: p.detach().clone() for n, p in self.p.items()}
        make, options = OPTIMIZERS[name]
        self.optimizer = make(self.p.values(), **options)
        self.rule = projection_kinds()[kind](self.p, self.theta0, value)

    def step(self, grads, skipped=None, scale=None):
        for n, p in self.p.items():
            p.grad = torch.tensor(grads[n]).to(p.dtype) if n in grads else None
        self.rule.before(scale)
        if skipped is None or not float(skipped):
            self.optimizer.step()
        return self.rule.after(skipped)

    def state(self):
        return {n: p.detach().double().numpy().copy() for n, p in self.p.items()}


@pytest.mark.usefixtures('reads')
@pytest.mark.parametrize('dtype', (torch.float64, torch.float32))
@pytest.mark.parametrize('value', (1.0, 0.4))
@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize('kind', NAIVE)
def test_every_step_is_that_of_the_loop(kind, name, value, dtype):
    ours, theirs, naive = Ours(kind, name, value, dtype), Optimizer(name), NAIVE[kind](value)
    theta0 = {n: t.double().numpy() for n, t in ours.theta0.items()}
    free, alone = Optimizer(name), theta0
    p = {n: t.copy() for n, t in theta0.items()}
    shares = []
    for step in range(STEPS):
        grads = gradient(step, p, theta0)
        numbers = ours.step(grads)
        new = naive(p, theirs(p, grads), grads, theta0)
        alone = free(alone, gradient(step, alone, theta0))
        for n, tensor in ours.state().items():
            tight = dict(rtol=1e-10, atol=1e-12) if dtype == torch.float64 else dict(atol=1e-5)
            np.testing.assert_allclose(tensor, new[n], **tight, err_msg=f'{n}, step {step}')
        p = new
        shares += numbers[0].tolist()
        left = ((1 - numbers[0]) * numbers[1]).tolist()
        if kind == 'spd':
            wanted = [np.sqrt(((new[n] - theta0[n]) ** 2).sum()) for n in SHAPES]
            np.testing.assert_allclose(left, wanted, rtol=1e-3, atol=1e-6)
    assert any(s > 0 for s in shares) and all(0 <= s <= 1 for s in shares)
    assert not np.allclose(p['conv'], alone['conv'], atol=1e-2)  # the projection is felt
    for n, t in ours.theta0.items():
        assert np.array_equal(t.double().numpy(), theta0[n])


def test_with_adam_it_is_the_authors_rule():
    """AdamSPD: Adam without decay, whose weight decay is the strength."""
    ours, theta0 = Ours('spd', 'adam', 0.7, torch.float32), drawn(0, np.float32)
    p, m, v = ({n: t.copy() for n, t in theta0.items()} for _ in range(3))
    for n in SHAPES:
        m[n], v[n] = m[n] * 0, v[n] * 0
    for step in range(1, STEPS + 1):
        grads = {n: g.astype(np.float32) for n, g in gradient(step, p, theta0).items()}
        ours.step(grads)
        for n, g in grads.items():
            m[n], v[n] = 0.9 * m[n] + 0.1 * g, 0.999 * v[n] + 0.001 * g * g
            denominator = np.sqrt(v[n]) / np.sqrt(1 - 0.999**step) + 1e-8
            new = p[n] - 0.02 / (1 - 0.9**step) * m[n] / denominator
            if -(g * (p[n] - theta0[n])).sum() < 0:
                far, near = (np.linalg.norm((q - theta0[n]).ravel()) for q in (new, p[n]))
                new = new - 0.7 * np.clip((far - near) / far, 0, 1) * (new - theta0[n])
            p[n] = new
            np.testing.assert_allclose(ours.state()[n], new, atol=1e-6)


@pytest.mark.usefixtures('reads')
@pytest.mark.parametrize('kind', NAIVE)
def test_what_has_no_gradient_and_skipped_steps_are_left_bit_for_bit(kind):
    ours, twin = Ours(kind, 'adam', 1.0), Ours(kind, 'adam', 1.0)
    for step in range(STEPS):
        grads = gradient(step, ours.state(), twin.state())
        if step in (2, 5):
            del grads['conv']
        before = ours.state()
        if step == 6:  # a loss scaler skips: gradients may be anything
            broken = {n: g * np.inf for n, g in grads.items()}
            ours.step(broken, skipped=torch.tensor(1.0), scale=torch.tensor(8.0))
            assert all(np.array_equal(ours.state()[n], t) for n, t in before.items())
        ours.step(grads, torch.tensor(0.0))
        twin.step(grads)
        if 'conv' not in grads:
            assert np.array_equal(ours.state()['conv'], before['conv'])
    for n, t in twin.state().items():
        assert np.array_equal(ours.state()[n], t)


def test_a_loss_scale_changes_nothing():
    """What a fused optimizer unscales in its kernel is still scaled when the rule looks."""
    ours, twin = (Ours('ftp', 'sgd', 0.5) for _ in range(2))
    for step in range(STEPS):
        grads = gradient(step, twin.state(), drawn(0))
        twin.step(grads)
        for n, p in ours.p.items():
            p.grad = torch.tensor(grads[n]) * 8
        ours.rule.before(torch.tensor(8.0))
        for p in ours.p.values():
            p.grad /= 8
        ours.optimizer.step()
        ours.rule.after()
    for n, t in twin.state().items():
        assert np.array_equal(ours.state()[n], t)


def test_learned_radii_are_taken_up():
    whole, part = Ours('ftp', 'sgd', 1.0), Ours('ftp', 'sgd', 1.0)
    for step in range(STEPS):
        if step == 6:
            again = Ours('ftp', 'sgd', 1.0)
            for n, p in again.p.items():
                p.data.copy_(part.p[n].data)
            again.rule.load_state_dict(part.rule.state_dict())
            part = again
        grads = gradient(step, whole.state(), drawn(0))
        whole.step(grads)
        part.step(grads)
    for n, t in whole.state().items():
        assert np.array_equal(part.state()[n], t)
    state = whole.rule.state_dict()
    state['names'] = ['other']
    with pytest.raises(ValueError, match="have none for 'conv'"):
        whole.rule.load_state_dict(state)


def test_half_precision():
    ours, theirs = Ours('spd', 'sgd', 1.0, torch.bfloat16), Ours('spd', 'sgd', 1.0, torch.float32)
    for step in range(3):
        grads = gradient(step, theirs.state(), drawn(0))
        ours.step(grads)
        theirs.step(grads)
    for n, t in theirs.state().items():
        np.testing.assert_allclose(ours.state()[n], t, atol=0.05)
    Ours('ftp', 'sgd', 1.0, torch.bfloat16).step(drawn(3))
