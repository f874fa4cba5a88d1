"""Every kind of operator that is counted, against a closed form of its own."""

import mmdet.models  # noqa: F401  (registers backbones)
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from mmbackbone_plugins.cost import OperatorCounter
from mmbackbone_plugins.cost.formulas import custom_formulas

pytestmark = pytest.mark.newer_torch


def rand(*shape):
    return torch.rand(*shape, requires_grad=True)


def counted(function, *tensors):
    """FLOPs forward and backward."""
    with OperatorCounter() as counter:
        function(*tensors).sum().backward()
    assert counter.forward + counter.backward == sum(counter.by_operator.values())
    return counter.forward, counter.backward


CONVOLUTIONS = dict(
    plain=(nn.Conv2d, dict(kernel_size=3, padding=1)),
    dilated=(nn.Conv2d, dict(kernel_size=3, dilation=2)),
    strided=(nn.Conv2d, dict(kernel_size=(3, 1), stride=2, padding='valid')),
    one_dimension=(nn.Conv1d, dict(kernel_size=5, stride=2)),
    three_dimensions=(nn.Conv3d, dict(kernel_size=(1, 2, 3))),
    transposed=(nn.ConvTranspose2d, dict(kernel_size=3, stride=2, output_padding=1)),
    transposed_one_dimension=(nn.ConvTranspose1d, dict(kernel_size=4, stride=3, dilation=2)),
)


@pytest.mark.parametrize('frozen', ['nothing', 'weight', 'input'])
@pytest.mark.parametrize('groups', [1, 4, 8])
@pytest.mark.parametrize('kind', CONVOLUTIONS)
def test_convolutions(kind, groups, frozen):
    """Forward: of a transposed one each input meets the weights of its group, else each output.

    Each gradient that is asked for takes as much as the forward pass, whatever the groups.
    """
    layer, settings = CONVOLUTIONS[kind]
    layer = layer(8, 16, groups=groups, **settings)
    dimensions = layer.weight.dim() - 2
    images = rand(2, 8, *(7, 9, 6)[:dimensions])
    if frozen == 'weight':
        layer.requires_grad_(False)
    elif frozen == 'input':
        images = images.detach()
    window = layer.weight[0, 0].numel()
    meetings = images.numel() * 16 if layer.transposed else layer(images).numel() * 8
    one = 2 * meetings * window // groups
    assert counted(layer, images) == (one, one * (2 if frozen == 'nothing' else 1))


PRODUCTS = dict(  # function, shapes, products forward and backward
    mm=(torch.mm, [(4, 5), (5, 6)], 4 * 5 * 6, 2),
    addmm=(torch.addmm, [(4, 6), (4, 5), (5, 6)], 4 * 5 * 6, 2),
    bmm=(torch.bmm, [(3, 4, 5), (3, 5, 6)], 3 * 4 * 5 * 6, 2),
    baddbmm=(torch.baddbmm, [(3, 4, 6), (3, 4, 5), (3, 5, 6)], 3 * 4 * 5 * 6, 2),
    addbmm=(torch.addbmm, [(4, 6), (3, 4, 5), (3, 5, 6)], 3 * 4 * 5 * 6, 2),
    in_place=(lambda a, b, c: (a * 1).addmm_(b, c), [(4, 6), (4, 5), (5, 6)], 4 * 5 * 6, 2),
    einsum=(lambda a, b: torch.einsum('bij,jk->bik', a, b), [(3, 4, 5), (5, 6)], 3 * 4 * 5 * 6, 2),
    linear=(F.linear, [(2, 7, 5), (6, 5), (6,)], 2 * 7 * 5 * 6, 2),
    # The gradient of the matrix is an outer product, one multiplication an entry.
    mv=(torch.mv, [(4, 5), (5,)], 4 * 5, 1),
    addmv=(torch.addmv, [(4,), (4, 5), (5,)], 4 * 5, 1),
    dot=(torch.dot, [(5,), (5,)], 5, 0),
)


@pytest.mark.parametrize('kind', PRODUCTS)
def test_products(kind):
    function, shapes, products, gradients = PRODUCTS[kind]
    found = counted(function, *(rand(*shape) for shape in shapes))
    assert found == (2 * products, gradients * 2 * products)


BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 6, 7, 9, 8
SCORES = 2 * BATCH * HEADS * QUERIES * KEYS * WIDTH  # and as much for the product with values


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(attn_mask=torch.ones(QUERIES, KEYS, dtype=torch.bool)),
        dict(dropout_p=0.5),
        dict(heads=2, enable_gqa=True),
    ],
    ids=['fused', 'mask', 'dropout', 'few-heads-of-keys'],
)
def test_attention(options):
    """Apart it takes four products for the gradients; the fused kernels do the scores again."""
    options = dict(options)
    heads = options.pop('heads', HEADS)
    query = rand(BATCH, HEADS, QUERIES, WIDTH)
    key, value = (rand(BATCH, heads, KEYS, WIDTH) for _ in range(2))
    try:
        forward, backward = counted(
            lambda *x: F.scaled_dot_product_attention(*x, **options), query, key, value
        )
    except TypeError:
        pytest.skip('this torch has no such option')
    assert forward == 2 * SCORES
    assert backward in (4 * SCORES, 5 * SCORES)


@pytest.mark.parametrize('kernel', ['flash', 'flash_for_cpu', 'efficient', 'cudnn'])
def test_attention_kernels_by_their_shapes(kernel):
    """Those of a GPU do not run here; heads of keys may be fewer, values wider."""
    name = f'_scaled_dot_product_{kernel}_attention'.replace(
        'flash_for_cpu_attention', 'flash_attention_for_cpu'
    )
    formulas = custom_formulas()
    query, key, value = (
        (BATCH, HEADS, QUERIES, WIDTH),
        (BATCH, 2, KEYS, WIDTH),
        (BATCH, 2, KEYS, 16),
    )
    if not hasattr(torch.ops.aten, name):
        pytest.skip('this torch has no such kernel')
    forward = formulas[getattr(torch.ops.aten, name)]
    assert forward(query, key, value, 0.0, out_shape=None) == SCORES + 2 * SCORES
    backward = formulas[getattr(torch.ops.aten, f'{name}_backward')]
    assert backward(value, query, key, value, out_shape=None) == 3 * SCORES + 2 * 2 * SCORES


@pytest.mark.parametrize('transposed', [False, True])
def test_convolutions_of_cudnn_by_their_shapes(transposed):
    name = 'cudnn_convolution_transpose' if transposed else 'cudnn_convolution'
    formula = custom_formulas()[getattr(torch.ops.aten, name)]
    images, weight, output = (2, 8, 5, 5), (8, 4, 3, 3), (2, 16, 11, 11)
    benchmark = True  # stands where other operators say whether they are transposed
    found = formula(images, weight, [0, 0], [2, 2], [1, 1], 2, benchmark, out_shape=output)
    assert found == 2 * 2 * 8 * 4 * 9 * (5 * 5 if transposed else 11 * 11)


@pytest.mark.parametrize('trains', [False, True])
def test_a_frozen_transformer_layer_counts_as_one_that_trains(trains):
    """Frozen and in eval mode it is one fused operator."""
    length, width, hidden = 7, 8, 16
    layer = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    layer.eval().requires_grad_(trains)
    tokens = torch.rand(2, length, width)
    with OperatorCounter() as counter:
        layer(tokens)
    linear = 2 * length * (4 * width * width + 2 * width * hidden)
    assert counter.forward == 2 * (linear + 2 * 2 * length * length * width)


@pytest.mark.parametrize('trains', [False, True])
def test_frozen_attention_counts_as_one_that_trains(trains):
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval().requires_grad_(trains)
    tokens = torch.rand(2, 7, 8)
    with OperatorCounter() as counter:
        layer(tokens, tokens, tokens, need_weights=False)
    assert counter.forward == 2 * (2 * 7 * 4 * 8 * 8 + 2 * 2 * 7 * 7 * 8)


def test_nothing_to_work_on_is_counted_and_not_listed_as_unknown():
    with OperatorCounter() as counter:
        nn.Conv2d(3, 4, 1)(torch.rand(0, 3, 5, 5)).sum().backward()
    assert counter.forward == counter.backward == 0
    assert set(counter.uncounted) == {'aten.sum'}


def test_depthwise_networks_take_three_times_the_forward_pass():
    """The first layer has no gradient of the image to pay."""
    layers = [nn.Conv2d(3, 32, 3, stride=2)]
    for groups in (32, 1, 8):
        layers += [nn.ReLU6(), nn.Conv2d(32, 32, 3, padding=1, groups=groups)]
    first = 2 * 2 * 31 * 31 * 32 * 27
    forward, backward = counted(nn.Sequential(*layers), torch.rand(2, 3, 64, 64))
    assert backward == 2 * forward - first


def test_a_backbone_with_groups_takes_three_times_its_forward_pass():
    """ResNeXt-50, whose stem has no gradient of the image; it was 4.7 times."""
    backbone = MODELS.build(dict(type='mmdet.ResNeXt', depth=50, groups=32, base_width=4))
    forward, backward = counted(
        lambda x: torch.cat([f.flatten() for f in backbone(x)]), torch.rand(1, 3, 64, 64)
    )
    assert backward == 2 * forward - 2 * 32 * 32 * 64 * 3 * 49
