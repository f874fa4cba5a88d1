"""FLOPs of operators by the shapes they work on, where torch's counter is wrong or has nothing.

Seen in torch 2.1 to 2.11: the weight gradient of a convolution is not divided by its groups (and in
2.1 that of a transposed one is another number altogether); attention with fewer heads of keys than
of queries raises; attention on a CPU, layers of transformers on the fast path that frozen ones
take, products with a vector and products in place are not counted.

A formula takes what the operator takes, its tensors as shapes, and ``out_shape``.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Callable

import torch

Shape = Sequence[int]


def custom_formulas() -> dict[Any, Callable[..., int]]:
    """Formulas by operator, of the operators that this torch has: a flop counter's mapping."""
    found = {getattr(torch.ops.aten, name, None): formula for name, formula in _FORMULAS.items()}
    found.pop(None, None)
    return found


def convolution_flops(images: int, weight: Shape, positions: Shape) -> int:
    """FLOPs of a convolution, and of each of its two gradients.

    Every entry of the weight meets every position once. Its shape, ``(out, in / groups, ...)`` or
    of a transposed one ``(in, out / groups, ...)``, has the groups in it.

    Args:
        images: Number of images.
        weight: Shape of the weight.
        positions: Spatial shape of the output, of a transposed convolution that of the input.
    """
    return 2 * images * prod(weight) * prod(positions)


def attention_flops(query: Shape, key: Shape, value: Shape, backward: bool = False) -> int:
    """FLOPs of an attention kernel: scores and their product with the values, masked ones too.

    Args:
        query: ``(batch, heads, queries, width)``.
        key: ``(batch, heads or fewer, keys, width)``.
        value: ``(batch, heads or fewer, keys, width of values)``.
        backward: Of the three gradients, for which the kernels do the scores again.
    """
    widths = 3 * query[-1] + 2 * value[-1] if backward else query[-1] + value[-1]
    return 2 * prod(query[:-1]) * key[-2] * widths


def _convolution(images: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return convolution_flops(images[0], weight, out_shape[2:])


def _transposed(images: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    return convolution_flops(images[0], weight, images[2:])


def _either(images: Shape, weight: Shape, *settings: Any, out_shape: Shape, **__: Any) -> int:
    positions = images if settings[4] else out_shape  # bias, stride, padding, dilation, transposed
    return convolution_flops(images[0], weight, positions[2:])


def _convolution_backward(
    gradient: Shape, images: Shape, weight: Shape, *settings: Any, **__: Any
) -> int:
    positions = images if settings[4] else gradient
    wanted = settings[7]  # of images, weight, bias
    return (wanted[0] + wanted[1]) * convolution_flops(images[0], weight, positions[2:])


def _product(left: Shape, right: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(left) * (right[-1] if len(right) > 1 else 1)


def _added_product(added: Shape, left: Shape, right: Shape, **__: Any) -> int:
    return _product(left, right)


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return attention_flops(query, key, value)


def _attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return attention_flops(query, key, value, backward=True)


def _attention_layer(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """``nn.MultiheadAttention``: query and output, key and value are projected."""
    projected = prod(query[:-1]) * 2 + prod(key[:-1]) * 2
    return 2 * projected * query[-1] ** 2 + attention_flops(query, key, value)


def _transformer_layer(tokens: Shape, *rest: Any, **__: Any) -> int:
    """``nn.TransformerEncoderLayer``: attention between four products with weights."""
    weights = sum(prod(rest[i]) for i in (2, 4, 13, 15))  # in, out, first and second of the MLP
    return 2 * prod(tokens[:-1]) * weights + attention_flops(tokens, tokens, tokens)


_KERNELS = ('flash', 'flash_for_cpu', 'efficient', 'cudnn', 'fused_overrideable')


def _kernel(kind: str) -> str:
    first, _, rest = kind.partition('_')
    return f'_scaled_dot_product_{first}_attention' + (f'_{rest}' if rest else '')


_FORMULAS: dict[str, Callable[..., int]] = {
    'convolution_backward': _convolution_backward,
    '_native_multi_head_attention': _attention_layer,
    '_transformer_encoder_layer_fwd': _transformer_layer,
    **dict.fromkeys(('convolution', '_convolution', 'convolution_overrideable'), _either),
    **dict.fromkeys(
        ('cudnn_convolution', 'mkldnn_convolution', '_slow_conv2d_forward'), _convolution
    ),
    'cudnn_convolution_transpose': _transposed,
    **dict.fromkeys(('mv', 'dot', 'vdot', '_int_mm'), _product),
    **dict.fromkeys(
        ('addmm_', 'addmv', 'addmv_', 'addbmm', 'addbmm_', 'baddbmm_', '_addmm_activation'),
        _added_product,
    ),
    **{_kernel(kind): _attention for kind in _KERNELS},
    **{f'{_kernel(kind)}_backward': _attention_backward for kind in _KERNELS},
}
