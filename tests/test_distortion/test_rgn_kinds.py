"""A number for a network that no bias rules: the median over weights of convolutions and layers."""

import numpy as np
import pytest
import torch
from torch import nn

from mmbackbone_plugins.distortion import RGNTable, frozen_stages, measure
from mmbackbone_plugins.distortion.table import kind_of, kinds_of
from mmbackbone_plugins.stages import Stage, StageMap


class Net(nn.Module):
    """Half of the tensors are biases, and start at zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.table_bias = nn.Parameter(torch.zeros(7, 2))
        self.head = nn.Linear(4, 1)
        for bias in (self.conv.bias, self.head.bias):
            nn.init.zeros_(bias)

    def forward(self, x):
        x = self.norm(self.conv(x)) * self.scale
        return self.head(x.mean((2, 3))) + self.table_bias.sum()


KINDS = {
    'conv.weight': 'weight',
    'conv.bias': 'bias',
    'norm.weight': 'norm',
    'norm.bias': 'bias',
    'scale': 'norm',
    'table_bias': 'bias',
    'head.weight': 'weight',
    'head.bias': 'bias',
}


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    net = Net()
    ((net(torch.randn(2, 3, 8, 8)) - 1) ** 2).mean().backward()
    return net


def test_kinds(net):
    kinds = kinds_of(dict(net.named_parameters()))
    assert kinds == KINDS
    # One output channel makes a weight no vector, and a vector of a norm layer no weight.
    assert kind_of('fc.weight', nn.Parameter(torch.ones(1, 1))) == 'weight'
    assert kind_of('cls_token', nn.Parameter(torch.ones(1, 1, 8))) == 'norm'


def test_the_median_of_weights_against_plain_numpy(net):
    parameters = dict(net.named_parameters())
    late = [n for n in KINDS if n.startswith('head')]
    early = [n for n in KINDS if n not in late]
    stages = StageMap([Stage('early', tuple(early), ()), Stage('late', tuple(late), ())])
    found = measure(parameters).read()
    table = RGNTable.of(found, stages, frozen_stages(stages, parameters), KINDS)
    ratios = {
        name: np.linalg.norm(p.grad.double().numpy()) / np.linalg.norm(p.detach().double().numpy())
        for name, p in parameters.items()
        if KINDS[name] == 'weight'
    }
    expected = dict(early=ratios['conv.weight'], late=ratios['head.weight'])
    expected['network'] = np.median(list(ratios.values()))
    assert table.weights == pytest.approx(expected, rel=1e-5)
    # What a bias of zero does to the other aggregates.
    assert table.network.mean > 1e4 * table.weights['network']
    assert table.network.median > 4 * table.weights['network']
    assert table.to_dict()['weights'] == table.weights and 'of weights' in table.text()
    assert RGNTable.of(found, stages).weights == {}


def test_a_broken_gradient_is_never_averaged_away(net):
    parameters = dict(net.named_parameters())
    stages = StageMap([Stage('body', tuple(KINDS), ())])
    found = measure(parameters).read()
    found.values['head.weight'] = float('nan')
    assert np.isnan(RGNTable.of(found, stages, (), KINDS).weights['network'])
