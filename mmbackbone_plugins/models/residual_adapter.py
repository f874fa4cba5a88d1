"""A residual adapter: a small trained correction of a frozen feature map."""

from collections.abc import Mapping
from typing import Any, Optional

import torch.nn.functional as F
from mmengine.model import constant_init
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..utils.checks import whole_number
from ..utils.names import arguments_by_name
from .added_block import AddedBlock


@MODELS.register_module()
@arguments_by_name()
class ResidualAdapter(AddedBlock):
    """Adds a 1x1 convolution of a map to it: ``h + A(h)``.

    ``A = conv(norm(h))``, or with ``hidden_channels`` ``conv(relu(reduce(norm(h))))``. ``conv`` is
    zero at the start, so the output equals the input bit for bit (in train and eval mode) and
    ``conv`` has a gradient from the first step.

    The norm layer, if any, stands *before* the convolutions. Behind a convolution that is zero a
    batch norm would see maps of zeros: its running variance would go to zero, and it would blow
    gradients up by 1 / sqrt(eps).

    Args:
        in_channels: Channels C of the map.
        hidden_channels: Width of a bottleneck; None for a single convolution of C x C weights.
        norm_cfg: Config of a norm layer, e.g. ``dict(type='BN')`` or
            ``dict(type='GN', num_groups=32)``; None for none.

    Shape:
        ``(N, C, H, W)`` in and out.

    Raises:
        ValueError: If a width is no positive integer, or ``norm_cfg`` is no config.

    Source:
        Table 7 of "Proper Reuse", arXiv 2204.00484, has residual adapters on a frozen backbone; how
        they look and where they stand was not found. The form is our reading after Rebuffi et al.,
        "Learning multiple visual domains with residual adapters"; zero at the start is ours.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import ResidualAdapter
        >>> adapter, h = ResidualAdapter(8, hidden_channels=2), torch.rand(1, 8, 4, 4)
        >>> torch.equal(adapter(h), h)
        True
    """

    _abbr_ = 'residual_adapter'

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Optional[int] = None,
        norm_cfg: Optional[dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        width = in_channels = whole_number('in_channels', in_channels)
        self.norm = self.reduce = None
        if norm_cfg is not None:
            if not isinstance(norm_cfg, Mapping) or 'type' not in norm_cfg:
                raise ValueError(
                    f"norm_cfg must be a dict such as dict(type='BN') or None, got {norm_cfg!r}"
                )
            from mmcv.cnn import build_norm_layer

            self.norm = build_norm_layer(norm_cfg, in_channels)[1]
        if hidden_channels is not None:
            width = whole_number('hidden_channels', hidden_channels)
            self.reduce = nn.Conv2d(in_channels, width, 1)
        self.conv = nn.Conv2d(width, in_channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.reduce is not None:
            self.reduce.reset_parameters()
            nn.init.kaiming_normal_(self.reduce.weight, nonlinearity='relu')
        constant_init(self.conv, 0)

    def forward(self, h: Tensor) -> Tensor:
        a = h if self.norm is None else self.norm(h)
        if self.reduce is not None:
            a = F.relu(self.reduce(a))
        return h + self.conv(a)
