"""Mona: an adapter with convolutions, for the blocks of a transformer."""

from typing import cast

import torch
import torch.nn.functional as F
from mmengine.model import constant_init, trunc_normal_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..utils.checks import choice, whole_number
from ..utils.names import arguments_by_name
from .added_block import AddedBlock

WIDTH = 64  # of the bottleneck, whatever the width of the backbone
INITS = ('paper', 'identity')


@MODELS.register_module()
@arguments_by_name()
class Mona(AddedBlock):
    """Adds to a map what convolutions of three sizes see in a narrow copy of it.

    ``x + project2(dropout(gelu(v)))`` with, on the map of 64 channels,

    - ``z = project1(gamma * LN(x) + gammax * x)``, ``gamma`` and ``gammax`` one number a channel;
    - ``u = z + (conv1(z) + conv2(z) + conv3(z)) / 3``, depthwise of 3, 5 and 7 pixels;
    - ``v = u + projector(u)``, a 1x1 convolution.

    It is made for ``StageBlockBackbone(position='in_blocks')`` on a frozen backbone.

    Args:
        in_channels: Channels C of the map.
        init: ``'paper'``: weights of ``project1`` and ``project2`` truncated normal of standard
            deviation 0.02 with biases zero, ``gamma`` 1e-6, ``gammax`` 1, convolutions as PyTorch
            has them. ``'identity'``: ``project2`` is zero as well, so the output equals the input
            bit for bit and ``project2`` has a gradient from the first step. Our addition.

    Shape:
        ``(N, C, H, W)`` in and out.

    Raises:
        ValueError: If ``in_channels`` is no positive integer or ``init`` none of these.

    Source:
        Mona, CVPR 2025, from the authors' code (github Leiyi-Hu/mona, mmdet's
        ``swin_transformer_mona.py``): formula, start, names of tensors, dropout of 0.1.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import Mona
        >>> block, x = Mona(8, init='identity'), torch.rand(1, 8, 4, 4)
        >>> torch.equal(block(x), x)
        True
    """

    _abbr_ = 'mona'

    def __init__(self, in_channels: int, init: str = 'paper') -> None:
        super().__init__()
        whole_number('in_channels', in_channels)
        self.init = choice('init', init, INITS)
        self.norm = nn.LayerNorm(in_channels)
        self.gamma = nn.Parameter(torch.empty(in_channels))
        self.gammax = nn.Parameter(torch.empty(in_channels))
        self.project1 = nn.Linear(in_channels, WIDTH)
        self.adapter_conv = _Convolutions()
        self.dropout = nn.Dropout(0.1)
        self.project2 = nn.Linear(WIDTH, in_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for conv in self.adapter_conv.children():
            cast(nn.Conv2d, conv).reset_parameters()
        constant_init(self.norm, 1)
        nn.init.constant_(self.gamma, 1e-6)
        nn.init.ones_(self.gammax)
        trunc_normal_init(self.project1, std=0.02)
        trunc_normal_init(self.project2, std=0.02)
        if self.init == 'identity':
            constant_init(self.project2, 0)

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)  # channels, for the norm and the linear layers
        narrow = self.project1(self.norm(last) * self.gamma + last * self.gammax)
        seen = self.adapter_conv(narrow.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.project2(self.dropout(F.gelu(seen))).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f'init={self.init!r}'


class _Convolutions(nn.Module):
    """The part on the narrow map, ``(N, 64, H, W)``; its own, for the names of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH)
        self.conv3 = nn.Conv2d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH)
        self.projector = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, z: Tensor) -> Tensor:
        u = z + (self.conv1(z) + self.conv2(z) + self.conv3(z)) / 3
        return u + self.projector(u)
