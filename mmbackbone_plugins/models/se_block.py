"""Squeeze-and-excitation: a gate per channel, from the mean of the map."""

from typing import Optional

import torch.nn.functional as F
from mmengine.model import constant_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..utils.checks import choice, whole_number
from ..utils.names import arguments_by_name
from .added_block import AddedBlock


def _paper(block: 'SEBlock') -> None:
    for conv in (block.fc1, block.fc2):
        conv.reset_parameters()  # PyTorch's default for the bias
        nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')


def _paper_convnext(block: 'SEBlock') -> None:
    for conv in (block.fc1, block.fc2):
        constant_init(conv, 0)
        nn.init.trunc_normal_(conv.weight, std=0.02)


def _identity(block: 'SEBlock') -> None:
    _paper(block)
    constant_init(block.fc2, 0)


# By name: what sets the parameters, and the factor before the sigmoid.
INITS = {
    'paper': (_paper, 1.0),
    'paper-convnext': (_paper_convnext, 1.0),
    'identity': (_identity, 2.0),
}


@MODELS.register_module()
@arguments_by_name()
class SEBlock(AddedBlock):
    """Scales each channel of a map by a gate between 0 and 1 (``'identity'``: 2).

    ``x * k * sigmoid(fc2(relu(fc1(mean_hw(x)))))``, ``fc1`` and ``fc2`` 1x1 convolutions with bias.

    - ``init='paper'``, ``k = 1``: weights Kaiming normal by fan-out, biases as PyTorch's default.
      Gates are scattered around 0.5, so features are scaled by about 0.5 after one block, 0.25
      after two, ...: the blocks need training before the backbone does.
    - ``init='paper-convnext'``, ``k = 1``: what the authors do in ConvNeXt: weights truncated
      normal of standard deviation 0.02, biases zero. Gates start closer to 0.5.
    - ``init='identity'``, ``k = 2``: ``fc2`` is zero, so the gate is 1 and the output equals the
      input bit for bit, with the sigmoid at its steepest: ``fc2`` has a gradient from the first
      step, ``fc1`` from the second. Our addition.

    It is also a plugin of mmcv (``plugins=`` of MMDetection's bottlenecks).

    Args:
        in_channels: Channels C of the map.
        reduction: The hidden width is ``in_channels // reduction``.
        hidden_channels: The hidden width itself; takes the place of ``reduction``.
        init: ``'paper'``, ``'paper-convnext'`` or ``'identity'``. The factor k is part of it: it
            is not in a checkpoint, so load weights under the ``init`` they were trained with.

    Shape:
        ``(N, C, H, W)`` in and out.

    Raises:
        ValueError: If a width is no positive integer, ``reduction`` is larger than
            ``in_channels``, or ``init`` is none of these.

    Source:
        "Mind the Backbone", arXiv 2303.14744, from the authors' code (the paper's own equation was
        not found): one block after each stage, hidden width 64 in a ResNet-50.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import SEBlock
        >>> block, x = SEBlock(8, reduction=4, init='identity'), torch.rand(1, 8, 4, 4)
        >>> torch.equal(block(x), x)
        True
    """

    _abbr_ = 'se_block'  # the name of the plugin inside a bottleneck

    def __init__(
        self,
        in_channels: int,
        reduction: int = 16,
        hidden_channels: Optional[int] = None,
        init: str = 'paper',
    ) -> None:
        super().__init__()
        in_channels = whole_number('in_channels', in_channels)
        if hidden_channels is None:
            hidden = in_channels // whole_number(
                'reduction',
                reduction,
                1,
                f'a positive integer up to {in_channels} (in_channels)',
                in_channels,
            )
        else:
            hidden = whole_number('hidden_channels', hidden_channels)
        self.init = choice('init', init, INITS)
        self.fc1 = nn.Conv2d(in_channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, in_channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        INITS[self.init][0](self)

    def gate(self, x: Tensor) -> Tensor:
        """What each channel is multiplied with, ``(N, C, 1, 1)``."""
        squeezed = x.mean(dim=(2, 3), keepdim=True)
        return INITS[self.init][1] * self.fc2(F.relu(self.fc1(squeezed))).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)

    def extra_repr(self) -> str:
        return f'init={self.init!r}'
