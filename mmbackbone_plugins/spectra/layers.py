"""Names of layers, and the feature maps that come out of them."""

import fnmatch
from collections.abc import Sequence
from typing import Any, Union

import torch
from torch import nn

from ..distortion.features import output_names
from ..utils.names import nearest

CONVOLUTIONS = (nn.Conv2d,)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
_RELU_LIKE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU)
ACTIVATIONS = (*_RELU_LIKE, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)


def default_layers(model: nn.Module) -> list[str]:
    """The modules whose outputs are those of the stages and of the neck's levels.

    Of a detector made of detectors they are the first one's: a semi-supervised one's student. A
    ValueError if there is no ``backbone``.
    """
    for prefix, part in [('', model), *((f'{n}.', m) for n, m in model.named_children())]:
        found = [n for n in ('backbone', 'neck') if isinstance(getattr(part, n, None), nn.Module)]
        if 'backbone' in found:
            return [prefix + name for name in found]
    raise ValueError(
        f'{type(model).__name__} has no module named backbone: say which layers are meant'
    )


def convolution_layers(model: nn.Module, within: Sequence[str] = ('backbone',)) -> list[str]:
    """Every 2-D convolution, norm layer and activation of some modules, in the model's order."""
    kinds = (*CONVOLUTIONS, *NORMS, *ACTIVATIONS)
    roots = tuple(f'{w}.' for w in within)
    return [n for n, m in model.named_modules() if isinstance(m, kinds) and n.startswith(roots)]


def resolve_layers(model: nn.Module, layers: Union[str, Sequence[str]]) -> list[str]:
    """Names of modules, patterns spelled out; a ValueError suggests the nearest for a wrong one."""
    wanted = [layers] if isinstance(layers, str) else list(layers)
    if not wanted:
        raise ValueError('layers is an empty list; name at least one module, e.g. "backbone"')
    names = [n for n, _ in model.named_modules() if n]
    found: list[str] = []
    for layer in wanted:
        if not isinstance(layer, str):
            raise ValueError(f'layers must be names of modules, got {layer!r}')
        matches = [layer] if layer in names else fnmatch.filter(names, layer)
        if not matches:
            near = nearest(layer, names, 3, 0.4)
            raise ValueError(f'layers: {type(model).__name__} has no module {layer!r}{near}')
        found += matches
    return list(dict.fromkeys(found))


def features_of(output: Any, vectors: int = 0) -> list[torch.Tensor]:
    """All feature maps ``(N, C, H, W)`` and tokens ``(N, L, C)`` in what a module returns.

    Also, of ``vectors`` images, a classifier's ``(vectors, C)``, as maps of one position.
    """
    if isinstance(output, torch.Tensor) and output.dim() == 2 and len(output) == vectors:
        output = output[..., None, None]
    if isinstance(output, torch.Tensor):
        return [output] if output.is_floating_point() and output.dim() in (3, 4) else []
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return [feature for item in output for feature in features_of(item, vectors)]
    return []


def channels_first(feature: torch.Tensor, input_shape: tuple[int, int]) -> torch.Tensor:
    """A feature map as ``(N, C, H, W)``, where a module computes with the channels last.

    ConvNeXt's blocks do. Rows and columns are in the proportion of the input's, within one
    position; where dimensions 1 and 2 are and 2 and 3 are not, the channels are the last.
    """

    def is_map(rows: int, columns: int) -> bool:
        height, width = input_shape
        return abs(rows * width - columns * height) <= max(height, width)

    if feature.dim() == 4 and is_map(*feature.shape[1:3]) and not is_map(*feature.shape[2:]):
        return feature.permute(0, 3, 1, 2)
    return feature


def describe(output: Any) -> str:
    """What a module returned, in a few words for a message."""
    if isinstance(output, torch.Tensor):
        return f'a tensor {tuple(output.shape)} of {output.dtype}'
    if isinstance(output, (list, tuple)):
        inside = ', '.join(describe(item) for item in output[:3])
        return f'{type(output).__name__} of {inside}{", ..." if len(output) > 3 else ""}'
    return type(output).__name__


def names_of_outputs(model: nn.Module, layer: str, count: int) -> list[str]:
    """Names of a module's outputs: of a backbone the stages, of others ``out0``, ``out1``, ..."""
    if count == 1:
        return [layer]
    module = model.get_submodule(layer)
    if next(module.parameters(), None) is None:
        return [f'{layer}.out{i}' for i in range(count)]
    return [f'{layer}.{name}' for name in output_names(module, count)]
