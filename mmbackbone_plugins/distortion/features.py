"""How similar the features of a backbone still are to those it started with."""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..stages import StageMap
from ..stages.trace import parameters_of_outputs
from ..utils.modes import set_mode
from ..utils.untouched import untouched
from .drift import linear_cka, pooled


@torch.no_grad()
def feature_similarity(
    backbone: nn.Module, images: Iterable[torch.Tensor], reference: Mapping[str, torch.Tensor]
) -> list[float]:
    """Linear CKA of each output of a backbone between now and its reference weights, from 0 to 1.

    Both go forward in eval mode; the module is left as it was. The reference weights, by their name
    in the backbone, take the place of its own for one call, and what modules make of their weights
    for eval mode (LeViT's attention biases) is made anew for it. Images are preprocessed batches
    ``(N, 3, H, W)``; examples are positions of the feature maps, see :func:`pooled`.
    """
    now: list[list[torch.Tensor]] = []
    then: list[list[torch.Tensor]] = []
    anew = _InEval(backbone)
    with untouched(backbone):
        set_mode(backbone, True)
        for batch in images:
            device = batch.device
            weights = {f'backbone.{n}': tensor.to(device) for n, tensor in reference.items()}
            both = (anew(batch), now), (functional_call(anew, weights, (batch,)), then)
            for outputs, kept in both:
                outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
                kept.append([pooled(feature) for feature in outputs])
    if not now:
        raise ValueError('no images to compare features on')
    return [linear_cka(torch.cat(a), torch.cat(b)) for a, b in zip(zip(*now), zip(*then))]


class _InEval(nn.Module):
    """A backbone that is in eval mode for the time of a call, so that it makes all things anew."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: torch.Tensor) -> Any:
        set_mode(self.backbone, False)
        try:
            return self.backbone(batch)
        finally:
            set_mode(self.backbone, True)


def output_names(backbone: nn.Module, count: int) -> list[str]:
    """Names of a backbone's ``count`` outputs: each that of the last stage it depends on.

    They are ``out0``, ``out1``, ... where stages do not tell outputs apart, as in a neck.
    """
    # A block put after a stage is no stage that a map can come from, nor is a last norm.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a neck has no stages, and that is no news
        stages = [s for s in StageMap.of(backbone, '') if re.fullmatch(r'stem|stage\d+', s.name)]
    try:
        outputs = parameters_of_outputs(backbone)
    except RuntimeError:
        outputs = []
    found = [[s.name for s in stages if used.intersection(s.parameters)] for used in outputs]
    names = [names[-1] for names in found if names] or [s.name for s in stages if s.name != 'stem']
    return names if len(set(names)) == count == len(names) else [f'out{i}' for i in range(count)]
