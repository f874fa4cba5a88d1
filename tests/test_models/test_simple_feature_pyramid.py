"""The neck of plain vision transformers."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from mmbackbone_plugins import SimpleFeaturePyramid


def norm(x, layer):
    """Layer norm over channels, position by position."""
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    scale, shift = (t.view(1, -1, 1, 1) for t in (layer.weight, layer.bias))
    return (x - mean) / (var + layer.eps).sqrt() * scale + shift


def test_every_level_is_made_of_the_last_map():
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='SimpleFeaturePyramid', in_channels=8, out_channels=6))
    for p in neck.parameters():
        torch.nn.init.normal_(p, std=0.5)
    x = torch.randn(2, 8, 6, 4)
    four, two, one, half = neck.levels
    expected = []
    up = F.conv_transpose2d(x, four[0].weight, four[0].bias, stride=2)
    up = F.gelu(norm(up, four[1]))
    up = F.conv_transpose2d(up, four[3].weight, four[3].bias, stride=2)
    for level, y in (
        (four, up),
        (two, F.conv_transpose2d(x, two[0].weight, two[0].bias, stride=2)),
        (one, x),
        (half, F.max_pool2d(x, 2)),
    ):
        first, first_norm, second, second_norm = level[-4:]
        y = norm(F.conv2d(y, first.weight), first_norm)
        expected.append(norm(F.conv2d(y, second.weight, padding=1), second_norm))
    expected.append(F.max_pool2d(expected[-1], 1, stride=2))
    outs = neck([torch.full((1,), float('nan')), x])  # of a backbone with several outputs
    assert [o.shape[2:] for o in outs] == [(24, 16), (12, 8), (6, 4), (3, 2), (2, 1)]
    for out, wanted in zip(outs, expected):
        torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(in_channels=0), 'in_channels must be a positive integer, got 0'),
        (dict(factors=(8, 4)), r'factors must be some of 4, 2, 1, 0.5, got \(8, 4\)'),
        (dict(factors=()), 'factors must be some of'),
        (dict(num_outs=3), 'num_outs must be at least 4, got 3'),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        SimpleFeaturePyramid(**{'in_channels': 8, **wrong})
