"""FLOPs of operators by the shapes they work on, where torch's counter is wrong or has nothing.

Seen in torch 2.1 to 2.11: the weight gradient of a convolution is not divided by its groups;
attention with fewer heads of keys than of queries raises; attention on a CPU, layers of
transformers on the fast path, products with a vector and products in place are not counted. A
formula takes what the operator takes, its tensors as shapes, and ``out_shape``.
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

    Every entry of the weight meets every position once: of the output, of a transposed convolution
    those of the input. The weight's shape, ``(out, in / groups, ...)`` or of a transposed one
    ``(in, out / groups, ...)``, has the groups in it.
    """
    return 2 * images * prod(weight) * prod(positions)


def attention_flops(query: Shape, key: Shape, value: Shape, backward: bool = False) -> int:
    """FLOPs of an attention kernel: scores and their product with the values, masked ones too.

    Shapes are ``(batch, heads, length, width)``; keys and values may have fewer heads.
    ``backward``: of the three gradients, for which the kernels do the scores again.
    """
    widths = 3 * query[-1] + 2 * value[-1] if backward else query[-1] + value[-1]
    return 2 * prod(query[:-1]) * key[-2] * widths


def _convolution(images: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return convolution_flops(images[0], weight, out_shape[2:])


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
    'cudnn_convolution_transpose': lambda x, w, *_, **__: convolution_flops(x[0], w, x[2:]),
    **dict.fromkeys(('mv', 'dot', 'vdot', '_int_mm'), _product),
    **dict.fromkeys(
        ('addmm_', 'addmv', 'addmv_', 'addbmm', 'addbmm_', 'baddbmm_', '_addmm_activation'),
        lambda added, left, right, **_: _product(left, right),
    ),
    **dict.fromkeys(map(_kernel, _KERNELS), lambda q, k, v, *_, **__: attention_flops(q, k, v)),
    **dict.fromkeys(
        (f'{_kernel(kind)}_backward' for kind in _KERNELS),
        lambda gradient, q, k, v, *_, **__: attention_flops(q, k, v, backward=True),
    ),
}
