"""Frozen stages through folded and half weights: the same features, and nothing else changes."""

import copy

import pytest
import rig
import torch
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from mmengine.registry import MODELS
from torch import nn

from mmbackbone_plugins import FrozenForward
from mmbackbone_plugins.lab.launch import register_modules

BACKBONES = {
    **{name: rig.FAMILIES[name] for name in ('resnet18', 'resnext', 'regnet', 'swin', 'convnext')},
    'csp': dict(type='mmdet.CSPDarknet', deepen_factor=0.33, widen_factor=0.125),
    'efficientnet': dict(type='mmdet.EfficientNet', arch='b0', out_indices=(3, 4)),
    'lite': dict(type='EfficientNetLite', arch='lite0'),
}


def drawn_norms(module):
    """Statistics as a training leaves them, for 0 and 1 would hide a mistake."""
    torch.manual_seed(0)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.1)


def frozen(backbone):
    """A model in training mode around a frozen backbone."""
    drawn_norms(backbone)
    model = nn.ModuleDict(dict(backbone=backbone)).train()
    backbone.requires_grad_(False).eval()
    return model


def small():
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    return frozen(nn.Sequential(*layers, nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8)))


def error(found, exact):
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(found, exact))


IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('name', BACKBONES)
def test_features_are_the_same_up_to_rounding(name):
    register_modules()
    model = frozen(MODELS.build(BACKBONES[name]))
    exact, said = model['backbone'](IMAGES), []
    state = copy.deepcopy(model.state_dict())
    for how, bound in (('folded', 1e-5), ('bf16', 2e-2)):
        with FrozenForward(model, ['backbone'], how, said.append):
            found = model['backbone'](IMAGES)
        assert all(f.is_contiguous() and f.dtype == torch.float32 for f in found)
        if how == 'folded' and name in ('swin', 'convnext'):
            assert said[-1].endswith('0 of 0 norms folded, so it is exact')
            assert not any(map(torch.Tensor.any, (a - b for a, b in zip(found, exact))))
        else:
            assert 0 < error(found, exact) < bound
    assert not rig.equal(state, model.state_dict())


def test_outside_of_it_and_in_validation_it_is_exact():
    model = small()
    exact = model['backbone'](IMAGES)
    with FrozenForward(model, ['backbone'], 'bf16', lambda text: None):
        assert not torch.equal(model['backbone'](IMAGES), exact)
        model.eval()
        assert torch.equal(model['backbone'](IMAGES), exact)
    model.train()
    model['backbone'].eval()
    assert torch.equal(model['backbone'](IMAGES), exact)
    assert 'forward' not in vars(model['backbone'])


def test_only_stages_before_the_first_that_trains_are_replaced():
    first, second = small()['backbone'], small()['backbone']
    backbone = nn.Sequential(first, nn.Conv2d(8, 3, 1), second)
    model = frozen(backbone)
    backbone[1].requires_grad_(True)
    seen = {}
    for i in range(3):
        backbone[i].register_forward_hook(lambda m, args, out, i=i: seen.update({i: (args, out)}))
    exact = backbone(IMAGES)
    with FrozenForward(model, ['backbone'], 'bf16', (said := []).append):
        found = backbone(IMAGES)
    assert said == ["'backbone': 0: 2 of 2 norms folded"]
    assert seen[0][1].dtype == torch.bfloat16
    assert seen[1][1].dtype == torch.float32
    found.sum().backward()
    assert backbone[1].weight.grad.dtype == torch.float32
    assert error([found.detach()], [exact.detach()]) < 2e-2


def test_hooks_see_features_and_what_they_watch_between_the_two_is_not_folded():
    model = small()
    backbone, seen = model['backbone'], []
    exact, between = backbone(IMAGES), backbone[0](IMAGES)
    for layer in (backbone[0], backbone[4]):
        with FrozenForward(model, ['backbone'], 'folded', (said := []).append) as other:
            handle = layer.register_forward_hook(lambda m, args, out: seen.append(out))
            assert torch.equal(backbone(IMAGES), exact)  # came late: exact for now
            other.remove()
            other.install()
            torch.testing.assert_close(backbone(IMAGES), exact)
            handle.remove()
        assert said == [f"'backbone': 0, 1, 3, 4: {n} of 2 norms folded" for n in (2, 1)]
    for features, wanted in zip(seen, (between, between, exact, exact)):
        torch.testing.assert_close(features, wanted)


def test_written_weights_are_folded_anew():
    model = small()
    backbone = model['backbone']
    other = FrozenForward(model, ['backbone'], 'folded', lambda text: None)
    with other:
        backbone(IMAGES)
    for tensor in (backbone[3].weight, backbone[4].running_var):
        with torch.no_grad():
            tensor.mul_(2)
        with other:
            torch.testing.assert_close(backbone(IMAGES), backbone.forward.args[0](IMAGES))


class Twice(nn.Module):
    """Two takers of what a convolution returns."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y


class Flat(nn.Sequential):
    """Takes for granted how maps lie in memory."""

    def forward(self, x):
        return super().forward(x).view(len(x), -1)


@pytest.mark.filterwarnings('ignore:stages of')
def test_what_cannot_be_folded_is_exact_and_says_so_once():
    texts = {}
    for kind, module in (('twice', Twice()), ('flat', Flat(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))):
        model = frozen(module)
        with FrozenForward(model, ['backbone'], 'folded', (said := []).append) as other:
            for _ in range(2):
                assert torch.equal(module(IMAGES), type(module).forward(module, IMAGES))
                other.remove()
                other.install()
        texts[kind] = said[-1]
        assert len(said) == 1 + (kind == 'flat')  # what is folded, before it turns out to fail
    assert texts['twice'].endswith('0 of 1 norms folded, so it is exact')
    assert 'exact, for otherwise: RuntimeError: view size is not compatible' in texts['flat']


def test_beside_the_folding_of_mmengine():
    """It puts a forward of its own on the backbone, in which no norm is called."""
    register_modules()
    model = frozen(MODELS.build(rig.resnet()))
    exact = model['backbone'](IMAGES)
    turn_on_efficient_conv_bn_eval(model, 'backbone')
    own = model['backbone'].forward
    with FrozenForward(model, ['backbone'], 'folded', (said := []).append):
        assert error(model['backbone'](IMAGES), exact) < 1e-5
    assert said[0].endswith('0 of 20 norms folded, so it is exact')
    assert model['backbone'].forward == own
