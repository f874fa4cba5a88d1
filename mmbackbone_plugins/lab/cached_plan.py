"""What a feature cache saves of a planned run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import torch
from mmengine.config import Config
from torch import nn

from ..cost import RunPlan
from ..cost.counting import OperatorCounter
from ..cost.flops import StepFlops
from ..freezing import Freezer
from ..freezing.feature_cache import frozen_phases, units_read
from ..hooks.feature_cache_hook import FeatureCacheHook
from ..utils.names import type_name
from ..utils.untouched import untouched
from . import launch


@dataclass(frozen=True)
class CachePlan:
    """A config's cache: what it would keep, and what it would spare."""

    views: int
    bytes_per_view: int  # of all outputs of the backbone; those that nobody reads are not kept
    flops_per_image: int  # of the backbone's forward pass
    fits: float  # share of all views that the budget holds; 1 where the images are not known

    def apply(self, plan: RunPlan, freezer: Freezer, backbone: nn.Module) -> RunPlan:
        """The plan without the forward passes that are read."""
        units = units_read(frozen_phases(plan.phases, freezer, backbone), self.views)
        return replace(plan, spared_flops=int(units * self.fits * self.flops_per_image))


def cache_of(
    cfg: Config, model: Any, batch: Sequence[Any], images: Optional[int]
) -> Optional[CachePlan]:
    """The cache of a config, None where it keeps nothing; ``batch`` as models take it."""
    hooks = [h for h in launch.hooks_of(cfg) if type_name(h) == 'FeatureCacheHook']
    if not hooks:
        return None
    arguments = {k: v for k, v in hooks[0].items() if k not in ('type', 'priority')}
    hook = FeatureCacheHook(**arguments)
    if hook.storage is None:
        return None
    with untouched(model), torch.no_grad(), OperatorCounter() as counter:
        model.backbone.eval()
        outputs = model.backbone(batch[0])
    number, size = len(batch[0]), torch.empty((), dtype=hook.dtype).element_size()
    view = sum(out[0].numel() for out in outputs) * size
    fits = min(1.0, hook.budget / (view * hook.views * images)) if images else 1.0
    return CachePlan(hook.views, view, StepFlops.of(counter).total // number, fits)
