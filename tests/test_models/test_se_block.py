"""The SE block: its formula, its three starts, and its use inside mmdet's bottlenecks."""

import math

import numpy as np
import pytest
import rig
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS, init_default_scope

from mmbackbone_plugins import SEBlock


def by_hand(block, x, factor):
    """The formula in numpy, float64."""
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in block.parameters())
    mean = x.double().numpy().mean(axis=(2, 3))
    hidden = np.maximum(mean @ w1[:, :, 0, 0].T + b1, 0)
    gate = factor / (1 + np.exp(-(hidden @ w2[:, :, 0, 0].T + b2)))
    return x.double().numpy() * gate[:, :, None, None]


@pytest.mark.parametrize('init, factor', [('paper', 1), ('paper-convnext', 1), ('identity', 2)])
def test_formula(init, factor):
    torch.manual_seed(0)
    block = SEBlock(24, reduction=4, init=init)
    for parameter in block.parameters():  # away from the start
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = torch.randn(3, 24, 5, 7)
    assert np.allclose(block(x).detach().numpy(), by_hand(block, x, factor), atol=1e-5)
    assert block.gate(x).shape == (3, 24, 1, 1)


@pytest.mark.parametrize('channels, reduction', [(256, 4), (512, 8), (1024, 16), (2048, 32)])
def test_paper_start(channels, reduction):
    """Kaiming normal by fan-out, PyTorch's biases, gates scattered evenly around 0.5."""
    torch.manual_seed(0)
    block = SEBlock(channels, reduction)
    assert block.fc1.weight.shape == (64, channels, 1, 1), 'the paper: 64 at every stage'
    for conv in (block.fc1, block.fc2):
        std = math.sqrt(2 / conv.out_channels)
        assert conv.weight.std().item() == pytest.approx(std, rel=0.03)
        assert abs(conv.weight.mean().item()) < 0.03 * std
        bound = 1 / math.sqrt(conv.in_channels)
        assert conv.bias.abs().max().item() <= bound
        assert conv.bias.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25)
    gate = block.gate(torch.randn(4, channels, 8, 8).relu())
    assert 0 < gate.min() and gate.max() < 1
    assert gate.mean().item() == pytest.approx(0.5, abs=0.03)
    still = block.gate(torch.zeros(1, channels, 8, 8))
    assert 0.45 < still.min() and still.max() < 0.55


def test_start_of_the_authors_convnext():
    torch.manual_seed(0)
    block = SEBlock(1024, 32, init='paper-convnext')
    for conv in (block.fc1, block.fc2):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not conv.bias.any()
    gate = block.gate(torch.randn(4, 1024, 8, 8).relu())
    assert gate.sub(0.5).abs().max() < 0.1 and gate.std() > 0


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_identity_start_changes_no_bit(dtype):
    x = torch.randn(2, 16, 6, 6).to(dtype) * 100
    block = SEBlock(16, 4, init='identity').to(dtype)
    assert torch.equal(block(x), x) and block(x).dtype == dtype
    assert torch.equal(block.eval()(x), x)


def test_identity_start_under_autocast():
    x = torch.randn(2, 16, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        out = SEBlock(16, 4, init='identity')(x)
    assert torch.equal(out, x) and out.dtype == x.dtype


def test_identity_start_learns():
    """Not a saturated gate: the last layer has a gradient at once, the first one step later."""
    torch.manual_seed(0)
    block = SEBlock(16, 4, init='identity')
    x = torch.randn(2, 16, 6, 6) + 1
    target = torch.randn(16, 1, 1)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    losses = []
    for step in range(20):
        loss = (block(x) * target).mean()
        optimizer.zero_grad()
        loss.backward()
        moving = [n for n, p in block.named_parameters() if p.grad.abs().max() > 0]
        first = ['fc1.weight', 'fc1.bias'] if step else []
        assert moving == [*first, 'fc2.weight', 'fc2.bias']
        optimizer.step()
        losses.append(loss.item())
    assert all(b < a for a, b in zip(losses, losses[1:]))


@pytest.mark.parametrize('init', ['paper', 'paper-convnext', 'identity'])
def test_start_survives_the_init_cfg_of_a_module_around_it(init):
    around = BaseModule(init_cfg=dict(type='Constant', layer='Conv2d', val=7.0, bias=7.0))
    around.se = SEBlock(16, 4, init=init)
    around.init_weights()
    assert all(p.abs().max() < 7 for p in around.se.parameters())
    assert (around.se.fc2.weight.abs().max() == 0) == (init == 'identity')


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(in_channels=16, reduction=17), ['reduction', '17', 'up to 16', 'in_channels']),
        (dict(in_channels=16, reduction=0), ['reduction', '0', 'positive']),
        (dict(in_channels=16, reduction=2.5), ['reduction', '2.5']),
        (dict(in_channels=16, reduction=True), ['reduction', 'True']),
        (dict(in_channels=16, hidden_channels=0), ['hidden_channels', '0', 'positive']),
        (dict(in_channels=None), ['in_channels', 'None']),
        (dict(in_channels=16, init='zero'), ['init', "'zero'", "'paper'", "'identity'"]),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError) as error:
        SEBlock(**options)
    assert all(word in str(error.value) for word in words), error.value


# -- plugins= of mmdet's ResNet --------------------------------------------------------------------


def resnet50(**options):
    """ResNet-50 with a quarter of the channels."""
    rig.register_modules()
    return MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=16, **options))


def plugin(**options):
    return dict(cfg=dict(type='SEBlock', **options), position='after_conv3')


@pytest.mark.parametrize('scope', ['mmdet', 'mmrotate'])
def test_plugin_of_a_bottleneck(scope):
    rig.register_modules()
    init_default_scope(scope)
    torch.manual_seed(0)
    plain = resnet50()
    gated = resnet50(plugins=[plugin(hidden_channels=8, init='identity')])
    result = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert len(result.missing_keys) == 16 * 4  # 16 bottlenecks
    assert 'layer1.0.se_block.fc1.weight' in result.missing_keys
    assert all('.se_block.' in key for key in result.missing_keys)
    plain.eval(), gated.eval()
    x = torch.randn(2, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(plain(x), gated(x)))
    torch.nn.init.ones_(gated.layer3[0].se_block.fc2.bias)
    changed = [not torch.equal(a, b) for a, b in zip(plain(x), gated(x))]
    assert changed == [False, False, True, True]


def test_plugins_by_stage_and_place():
    stages = [tuple(i == j for j in range(4)) for i in range(4)]
    plugins = [dict(plugin(reduction=2**i), stages=s) for i, s in enumerate(stages)]
    gated = resnet50(plugins=plugins)
    hidden = [getattr(gated, f'layer{i}')[0].se_block.fc1.out_channels for i in (1, 2, 3, 4)]
    assert hidden == [64, 64, 64, 64]
    early = dict(cfg=dict(type='SEBlock', postfix='_early'), position='after_conv2')
    block = resnet50(plugins=[early, plugin()]).layer2[0]
    assert block.se_block_early.fc2.out_channels == 32 and block.se_block.fc2.out_channels == 128
