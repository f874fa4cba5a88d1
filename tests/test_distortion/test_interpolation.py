"""Weights between two ends, against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from mmbackbone_plugins import interpolate


def ends(dtype=torch.float32):
    torch.manual_seed(0)
    net = nn.ModuleDict(
        dict(backbone=nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), head=nn.Linear(4, 2))
    ).to(dtype)
    start = {n: t.clone() for n, t in net.state_dict().items()}
    net['backbone'](torch.randn(2, 3, 8, 8, dtype=dtype))
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p)
    start['head.bias'][0] = net.state_dict()['head.bias'][0]
    return start, net.state_dict()


@pytest.mark.parametrize('dtype', (torch.float32, torch.float64, torch.bfloat16))
@pytest.mark.parametrize('weight', (0.3, 0.5, 0.9))
def test_linear_in_every_parameter(weight, dtype):
    start, end = ends(dtype)
    found = interpolate(start, end, weight)
    assert list(found) == list(end)
    for name, tensor in found.items():
        assert tensor.dtype == end[name].dtype
        if not tensor.is_floating_point():
            assert name.endswith('num_batches_tracked') and tensor == end[name] != start[name]
            continue
        a, b = (t[name].double().numpy() for t in (start, end))
        wanted = torch.from_numpy(np.asarray((1 - weight) * a + weight * b)).to(dtype)
        assert torch.equal(tensor, wanted), name
    assert found['head.bias'][0] == start['head.bias'][0]
    assert not torch.equal(found['backbone.1.running_var'], end['backbone.1.running_var'])


def test_the_ends_are_bit_equal_and_copies():
    start, end = ends()
    for weight, side in ((0, start), (1.0, end)):
        side['head.weight'][0, 0] = -0.0
        found = interpolate(start, end, weight)
        for name, tensor in found.items():
            own = side if tensor.is_floating_point() else end
            assert tensor.numpy().tobytes() == own[name].numpy().tobytes()
            assert tensor.data_ptr() != own[name].data_ptr()


def test_a_target_alone():
    start, end = ends()
    del start['head.weight']  # another head is no matter
    found = interpolate(start, end, 0.5, target='backbone')
    assert torch.equal(found['head.bias'], end['head.bias'])
    assert torch.equal(
        found['backbone.0.weight'], (start['backbone.0.weight'] + end['backbone.0.weight']) / 2
    )


def test_beyond_the_ends_only_on_demand():
    start, end = {'w': torch.tensor([1.0])}, {'w': torch.tensor([3.0])}
    assert interpolate(start, end, 1.5, extrapolate=True)['w'] == 4
    end, start = ({'n.running_var': t['w']} for t in (start, end))
    with pytest.raises(ValueError, match="'n.running_var' would be a negative variance"):
        interpolate(start, end, 3, extrapolate=True)


@pytest.mark.parametrize('weight', (-0.1, 1.01, float('nan'), True, '0.5', None))
def test_bad_weights(weight):
    with pytest.raises(ValueError, match='weight must be a number from 0'):
        interpolate({}, {}, weight)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s, e: s.pop('head.bias'), r'head.bias \(not in the start\)$'),
        (lambda s, e: e.pop('head.bias'), r'head.bias \(not in the end\)$'),
        (lambda s, e: s.update({'head.bias': torch.zeros(3)}), r'start: shape \(3,\)'),
        (lambda s, e: s.update({'head.bias': torch.zeros(2).half()}), 'torch.float16, end'),
        (lambda s, e: s.clear(), r'backbone.1.weight \(not in the start\) and 6 more'),
    ],
)
def test_ends_of_different_architectures(change, message):
    start, end = map(dict, ends())
    change(start, end)
    with pytest.raises(ValueError, match=f'not of one architecture: .*{message}'):
        interpolate(start, end, 0.5)


def test_an_unknown_target():
    with pytest.raises(ValueError, match="target 'neck': the end has no tensor"):
        interpolate(*ends(), 0.5, target='neck')
