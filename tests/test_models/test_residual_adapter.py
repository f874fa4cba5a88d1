"""The residual adapter: its formula, and that it starts as identity and learns at once."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule

from mmbackbone_plugins import ResidualAdapter

KINDS = {
    'plain': dict(),
    'bottleneck': dict(hidden_channels=4),
    'batch-norm': dict(norm_cfg=dict(type='BN')),
    'group-norm-bottleneck': dict(norm_cfg=dict(type='GN', num_groups=4), hidden_channels=4),
}
every = pytest.mark.parametrize('kind', KINDS)


@every
@pytest.mark.parametrize('training', [True, False])
def test_start_is_identity_bit_for_bit_and_learns(kind, training):
    torch.manual_seed(0)
    adapter = ResidualAdapter(16, **KINDS[kind]).train(training)
    h = torch.randn(2, 16, 6, 6) * 50
    out = adapter(h)
    assert torch.equal(out, h)
    (out * torch.randn_like(out)).mean().backward()
    for name, parameter in adapter.named_parameters():
        assert bool(parameter.grad.abs().max() > 0) == name.startswith('conv.'), name
    torch.optim.SGD(adapter.parameters(), lr=0.1).step()
    adapter.zero_grad()
    adapter(h).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in adapter.parameters())


def test_norm_stands_before_the_zero_convolution():
    """Its statistics are those of the features; behind, they would be those of zeros."""
    adapter = ResidualAdapter(16, norm_cfg=dict(type='BN'))
    h = torch.randn(8, 16, 9, 9) * 3 + 5
    for _ in range(60):
        adapter(h)
    assert torch.allclose(adapter.norm.running_mean, torch.full((16,), 5.0), atol=0.6)
    assert torch.allclose(adapter.norm.running_var, torch.full((16,), 9.0), atol=1.5)
    out = adapter(h)
    out.sum().backward()
    assert adapter.conv.weight.grad.abs().max() < 100


@every
def test_formula(kind):
    torch.manual_seed(0)
    adapter = ResidualAdapter(16, **KINDS[kind]).eval()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    h = torch.randn(2, 16, 3, 5)
    flat = h.double().permute(0, 2, 3, 1).reshape(-1, 16).numpy()
    a = flat
    if adapter.norm is not None:
        a = adapter.norm(h).double().detach().permute(0, 2, 3, 1).reshape(-1, 16).numpy()

    def convolve(a, conv):
        return a @ conv.weight.detach().double().numpy()[:, :, 0, 0].T + conv.bias.detach().numpy()

    if adapter.reduce is not None:
        a = np.maximum(convolve(a, adapter.reduce), 0)
    wanted = flat + convolve(a, adapter.conv)
    found = adapter(h).detach().permute(0, 2, 3, 1).reshape(-1, 16).numpy()
    assert np.allclose(found, wanted, atol=1e-4)


@every
def test_start_survives_the_init_cfg_of_a_module_around_it(kind):
    around = BaseModule(init_cfg=dict(type='Kaiming', layer='Conv2d'))
    around.adapter = ResidualAdapter(16, **KINDS[kind])
    around.init_weights()
    h = torch.randn(2, 16, 6, 6)
    assert torch.equal(around.adapter(h), h)


def test_identity_under_autocast():
    h = torch.randn(2, 16, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        out = ResidualAdapter(16, norm_cfg=dict(type='BN'))(h)
    assert torch.equal(out, h) and out.dtype == h.dtype


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(in_channels=0), ['in_channels', '0', 'positive']),
        (dict(in_channels=8, hidden_channels=0.5), ['hidden_channels', '0.5']),
        (dict(in_channels=8, norm_cfg='BN'), ['norm_cfg', "'BN'", 'type']),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError) as error:
        ResidualAdapter(**options)
    assert all(word in str(error.value) for word in words), error.value
