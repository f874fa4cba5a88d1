"""Mona: its formula, its start, the tensors of a published checkpoint, its gradients."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmbackbone_plugins import Mona

# Of the authors' code, for a map of C channels; there is no other.
PUBLISHED = {
    'norm.weight': ('C',),
    'norm.bias': ('C',),
    'gamma': ('C',),
    'gammax': ('C',),
    'project1.weight': (64, 'C'),
    'project1.bias': (64,),
    'project2.weight': ('C', 64),
    'project2.bias': ('C',),
    'adapter_conv.conv1.weight': (64, 1, 3, 3),
    'adapter_conv.conv2.weight': (64, 1, 5, 5),
    'adapter_conv.conv3.weight': (64, 1, 7, 7),
    'adapter_conv.projector.weight': (64, 64, 1, 1),
    **{f'adapter_conv.{n}.bias': (64,) for n in ('conv1', 'conv2', 'conv3', 'projector')},
}


def random_block(channels=6):
    torch.manual_seed(0)
    block = Mona(channels).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def naive(tensors, x):
    """The formula pixel by pixel, in numpy."""
    t = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    images, channels, height, width = x.shape
    z = np.zeros((images, 64, height, width))
    for n, i, j in np.ndindex(images, height, width):
        pixel = x[n, :, i, j]
        normed = (pixel - pixel.mean()) / np.sqrt(pixel.var() + 1e-5)
        normed = normed * t['norm.weight'] + t['norm.bias']
        mixed = normed * t['gamma'] + pixel * t['gammax']
        z[n, :, i, j] = t['project1.weight'] @ mixed + t['project1.bias']
    u = z.copy()
    for name, size in (('conv1', 3), ('conv2', 5), ('conv3', 7)):
        half = size // 2
        padded = np.pad(z, ((0, 0), (0, 0), (half, half), (half, half)))
        weight, bias = t[f'adapter_conv.{name}.weight'][:, 0], t[f'adapter_conv.{name}.bias']
        for i, j in np.ndindex(height, width):
            window = padded[:, :, i : i + size, j : j + size]
            u[:, :, i, j] += ((window * weight).sum((2, 3)) + bias) / 3
    out = x.copy()
    for n, i, j in np.ndindex(images, height, width):
        pixel = u[n, :, i, j]
        v = pixel + t['adapter_conv.projector.weight'][:, :, 0, 0] @ pixel
        v = v + t['adapter_conv.projector.bias']
        gelu = np.array([0.5 * s * (1 + math.erf(s / math.sqrt(2))) for s in v])
        out[n, :, i, j] += t['project2.weight'] @ gelu + t['project2.bias']
    return out


def test_equals_a_naive_formula():
    block = random_block()
    x = torch.randn(2, 6, 8, 5, dtype=torch.float64)
    assert np.allclose(block(x).detach().numpy(), naive(block.state_dict(), x.numpy()), atol=1e-11)


def test_tensors_are_the_published_ones():
    tensors = {name: tuple(t.shape) for name, t in Mona(96).state_dict().items()}
    assert tensors == {
        name: tuple(96 if n == 'C' else n for n in shape) for name, shape in PUBLISHED.items()
    }


def test_start():
    torch.manual_seed(0)
    x = torch.randn(2, 256, 8, 8)
    paper, identity = Mona(256), MODELS.build(dict(type='Mona', in_channels=256, init='identity'))
    for block in (paper, identity):
        assert bool((block.gamma == 1e-6).all()) and bool((block.gammax == 1).all())
        assert block.project1.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not block.project1.bias.any() and not block.project2.bias.any()
    assert paper.project2.weight.std().item() == pytest.approx(0.02, rel=0.1)
    for mode in (True, False):
        assert torch.equal(identity.train(mode)(x), x)
        assert not torch.equal(paper.train(mode)(x), x)


def test_what_learns_in_the_first_step():
    """At the identity the last projection alone has a gradient; after a step everything has."""
    torch.manual_seed(0)
    block, x = Mona(8, init='identity').eval(), torch.randn(2, 8, 6, 6)
    for expected in ({'project2.weight', 'project2.bias'}, set(PUBLISHED)):
        block.zero_grad()
        block(x).square().sum().backward()
        moved = {n for n, p in block.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == expected
        with torch.no_grad():
            for parameter in block.parameters():
                parameter -= 0.1 * parameter.grad


def test_dropout_is_a_tenth_in_train_mode():
    torch.manual_seed(0)
    block = Mona(4)
    for parameter in block.project2.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(block.project2.bias)
    seen = []
    block.dropout.register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    block(torch.randn(4, 4, 32, 32))
    (before, after), *_ = seen
    assert (after == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    kept = after != 0
    assert torch.allclose(after[kept], before[kept] / 0.9)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(in_channels=0), ['in_channels', '0']),
        (dict(in_channels=8, init='zero'), ['init', "'zero'", 'paper', 'identity']),
        (dict(in_channels=8, width=32), ["'width'", 'in_channels', 'init']),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError) as error:
        Mona(**options)
    assert all(word in str(error.value) for word in words), error.value
