"""What a detector costs with other widths of its backbone."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..cost import new_flop_counter
from .resnet_widths import width_options
from .scratch import scratch_overrides


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    parameters: int  # number of parameters of the whole detector
    macs: int  # multiply-adds of backbone and neck for one image


def count_cost(build: Callable[[], BaseModel], shape: tuple[int, int]) -> Cost:
    """Counts parameters of a detector, and multiply-adds for an image of a height and width.

    The detector is built and run on torch's ``meta`` device: no memory, no arithmetic, but every
    operator is called with its real shapes and counted by torch's flop counter (convolutions and
    matrix products; a multiply-add is two FLOPs). Heads see the neck's outputs, whose width stays:
    their multiply-adds are the same whatever the widths of the backbone. A ValueError if an
    operator cannot be counted (deformable convolutions).
    """
    counter = new_flop_counter()
    with torch.device('meta'):
        model = build()
    model.eval()
    channels = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)).in_channels
    with torch.no_grad(), counter:
        try:
            features = model.backbone(torch.empty(1, channels, *shape, device='meta'))
            if getattr(model, 'neck', None) is not None:
                model.neck(features)
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                'backbone and neck cannot be counted: they have an operator that does not run on '
                f"torch's meta device, such as a deformable convolution ({error})"
            ) from error
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)


def build_detector(cfg: Config) -> nn.Module:
    """Builds a config's detector under its own default scope."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return MODELS.build(cfg.model)


class WidthCosts:
    """Cost of a config's detector by the widths of its backbone; each choice is counted once."""

    def __init__(
        self, cfg: Config, backbone: nn.Module, norm: Mapping[str, Any], shape: tuple[int, int]
    ) -> None:
        self._cfg, self._backbone, self._norm, self._shape = cfg, backbone, norm, shape
        self._known: dict[tuple[tuple[str, int], ...], Cost] = {}

    def overrides(self, widths: Mapping[str, int]) -> dict[str, Any]:
        """What a config sets on top of this one, see :func:`scratch_overrides`."""
        return scratch_overrides(self._cfg, width_options(self._backbone, widths), self._norm)

    def __call__(self, widths: Mapping[str, int]) -> Cost:
        key = tuple(sorted(widths.items()))
        if key not in self._known:
            cfg = copy.deepcopy(self._cfg)
            cfg.merge_from_dict(dict(model=self.overrides(widths)['model']))
            self._known[key] = count_cost(lambda: build_detector(cfg), self._shape)
        return self._known[key]
