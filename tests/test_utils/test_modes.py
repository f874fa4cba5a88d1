"""Modes are set as modules set them themselves, and come back exactly. Cases 13, 14 and 19."""

import pytest
import torch
from torch import nn

from mmbackbone_plugins.utils.modes import set_mode, set_modes
from mmbackbone_plugins.utils.untouched import untouched


class Biased(nn.Module):
    """Keeps something of its weights while in eval mode, as LeViT's attention in MMPretrain."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        self.bias = nn.Parameter(torch.randn(2))
        self.index = torch.tensor([1, 0])

    @torch.no_grad()
    def train(self, mode=True):  # returns None, as MMDetection's ResNet does
        super().train(mode)
        if mode and hasattr(self, 'kept'):
            del self.kept
        else:
            self.kept = self.bias[self.index]

    def forward(self, x):
        return self.layer(x) + (self.bias[self.index] if self.training else self.kept)


class Lazy(Biased):
    """Keeps it from the first use on until it goes back to train mode, as timm's."""

    def train(self, mode=True):
        nn.Module.train(self, mode)
        if mode:
            self.cache = {}
        return self

    def forward(self, x):
        if self.training:
            return self.layer(x) + self.bias[self.index]
        return self.layer(x) + self.cache.setdefault('bias', self.bias[self.index].detach())


class Stubborn(nn.Module):
    """A module that an owner keeps in eval mode, as LAVIS does: train() does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Dropout()
        self.eval()
        self.train = lambda mode=True: self


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(Biased(), nn.Sequential(Lazy(), nn.BatchNorm1d(2)), Stubborn())
    nn.Module.train(net)
    return net


def test_a_train_of_its_own_is_called(net):
    x = torch.randn(5, 2)
    set_mode(net, False)
    assert not any(m.training for m in net.modules())
    expected = net[0].layer[0](x) + net[0].bias[[1, 0]]
    assert torch.allclose(net[0](x), expected)  # was: no attribute 'kept'
    with torch.no_grad():
        net[0].bias.add_(1)
    set_mode(net, True)
    assert not hasattr(net[0], 'kept')
    set_mode(net, False)
    assert torch.allclose(net[0](x), expected + 1)


def test_mixed_modes_come_back(net):
    """A train() reaches into children; they are brought back after their parent."""
    net[0].layer[1].eval()
    net[1][1].eval()
    before = [m.training for m in net.modules()]
    kept = [(m, m.training) for m in net.modules()]
    set_mode(net, False)
    set_modes(kept)
    assert [m.training for m in net.modules()] == before
    assert len(set(before)) == 2
    set_mode(net, True)
    assert all(m.training for m in net.modules())  # the stubborn one too
    set_modes(kept)
    assert [m.training for m in net.modules()] == before


@pytest.mark.parametrize('training', [True, False])
def test_untouched_leaves_what_modules_keep_as_it_fits_the_weights(net, training):
    set_mode(net, True)
    set_mode(net, training)
    x = torch.randn(5, 2)
    with untouched(net):
        set_mode(net, not training)
        net[:2](x)
    assert all(m.training == training for m in net.modules())
    torch.manual_seed(0)
    found = net[0](x)
    torch.manual_seed(0)
    assert torch.equal(found, net[0].layer(x) + net[0].bias[[1, 0]])


def test_untouched_keeps_requires_grad_where_train_freezes():
    """Backbones of MMDetection freeze their stages in train(), which is called to go back."""

    class Freezes(nn.Linear):
        def train(self, mode=True):
            super().train(mode)
            self.weight.requires_grad_(False)

    net = Freezes(2, 2)
    with untouched(net):
        set_mode(net, False)
    assert net.weight.requires_grad and net.training
