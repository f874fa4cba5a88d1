"""A feature pyramid on one map: what a plain vision transformer gives a detector."""

import math
from collections.abc import Sequence
from typing import Union

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import nn

from ..utils.checks import whole_number


class _MapNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Makes maps of several strides of the last map of a backbone, each from it directly.

    A factor of 4 is two transposed convolutions, 2 is one, 1 is none, 1/2 a max pooling; then each
    map has a 1x1 and a 3x3 convolution with layer norms. Further maps are every second position of
    the one before.

    Args:
        in_channels: Channels of the map.
        out_channels: Channels of all outputs.
        factors: Powers of two by which the map is enlarged, in falling order: at a stride of 16
            the default makes strides 4, 8, 16 and 32.
        num_outs: Number of outputs, at least that of factors.

    Shapes:
        A sequence of maps, of which the last is taken, (N, in_channels, H, W); the outputs are
        (N, out_channels, factor * H, factor * W).

    Raises:
        ValueError: If a number is not positive, a factor not a power of two up to 4, or there are
            fewer outputs than factors.

    Source:
        "Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet, ECCV 2022,
        arXiv 2203.16527), section 3, as in its public configs.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import SimpleFeaturePyramid
        >>> neck = SimpleFeaturePyramid(in_channels=32, out_channels=16)
        >>> [tuple(out.shape[1:]) for out in neck([torch.rand(1, 32, 8, 8)])]
        [(16, 32, 32), (16, 16, 16), (16, 8, 8), (16, 4, 4), (16, 2, 2)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        factors: Sequence[Union[int, float]] = (4, 2, 1, 0.5),
        num_outs: int = 5,
    ) -> None:
        super().__init__()
        for name, value in (('in_channels', in_channels), ('out_channels', out_channels)):
            whole_number(name, value)
        if not factors or not set(factors) <= {4, 2, 1, 0.5}:
            raise ValueError(f'factors must be some of 4, 2, 1, 0.5, got {factors!r}')
        if num_outs < len(factors):
            raise ValueError(f'num_outs must be at least {len(factors)}, got {num_outs!r}')
        self.num_outs = num_outs
        self.levels = nn.ModuleList(_level(in_channels, out_channels, f) for f in factors)

    def forward(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        outs = [level(features[-1]) for level in self.levels]
        while len(outs) < self.num_outs:
            outs.append(outs[-1][..., ::2, ::2])
        return tuple(outs)


def _level(channels: int, out: int, factor: float) -> nn.Sequential:
    parts: list[nn.Module] = []
    for i in range(max(int(math.log2(factor)), 0)):
        if i:
            parts += [_MapNorm(channels), nn.GELU()]
        parts.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels //= 2
    if factor < 1:
        parts.append(nn.MaxPool2d(2))
    parts += [nn.Conv2d(channels, out, 1, bias=False), _MapNorm(out)]
    parts += [nn.Conv2d(out, out, 3, padding=1, bias=False), _MapNorm(out)]
    return nn.Sequential(*parts)
