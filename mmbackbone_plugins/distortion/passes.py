"""Gradients of the detection loss over batches of data, without a step and without a trace."""

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any, Callable, Optional

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..stages import StageMap
from ..utils.branches import losses_of
from ..utils.checks import choice
from ..utils.untouched import modules_of, untouched
from .rgn import GRANULARITIES, Deferred, average, measure
from .table import RGNTable, frozen_stages, kinds_of


def gradient_passes(
    model: nn.Module,
    batches: Iterable[Any],
    count: Optional[int] = None,
    enable: Collection[nn.Parameter] = (),
) -> Iterator[int]:
    """Goes forward and backward batch by batch; at each turn ``.grad`` is that batch's gradient.

    The model, a detector of mmengine's kind, is in train mode, and the loss is the sum of all its
    losses. Afterwards, or when the iterator is closed, the model and all random numbers are as they
    were (:func:`untouched`). Yields the number of the batch, from 1. Batches are as the training
    loader yields them, of a loader made for this; parameters to ``enable`` require a gradient
    meanwhile. Source: arXiv 2303.14744, ``tools/compute_rgn.py``.
    """
    done = 0
    detector: Any = model
    with untouched(model):
        model.train()
        allow_single_values(model)
        for p in enable:  # only now: backbones freeze their stages in train()
            p.requires_grad_(True)
        if not any(p.requires_grad for p in model.parameters()):
            raise ValueError('no parameter of the model requires a gradient: all of it is frozen')
        # Data loaders draw a seed when their iteration starts: inside, where it leaves no trace.
        for batch in batches:
            with torch.enable_grad():
                data = detector.data_preprocessor(batch, True)
                detector.parse_losses(losses_of(model, data))[0].backward()
            done += 1
            yield done
            model.zero_grad()
            if done == count:
                break
    if not done:
        raise ValueError('the training loader is empty: there is no batch to measure on')


def allow_single_values(model: nn.Module) -> None:
    """Lets norm layers take a map of 1 x 1 of a single image, which torch refuses in training.

    It has no variance for a batch norm, which takes its running statistics instead. A group norm
    gives what it gives the same image in a larger batch. For good, so within :func:`untouched`.
    """

    def before(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        norm.training = not inputs or inputs[0].numel() != inputs[0].shape[1]

    def after(norm: nn.Module, inputs: Any, output: Any) -> None:
        norm.training = True

    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    for module in modules_of(model):
        if several and isinstance(module, nn.SyncBatchNorm):
            continue  # has the values of all ranks, which wait for each other in it
        if isinstance(module, _BatchNorm) and module.training:
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)
        elif type(module) is nn.GroupNorm:
            module.forward = partial(_group_norm, module)  # type: ignore[method-assign]


def _group_norm(norm: nn.GroupNorm, values: torch.Tensor) -> torch.Tensor:
    """As torch's module, which counts values before it computes this."""
    return torch.group_norm(values, norm.num_groups, norm.weight, norm.bias, norm.eps)


def average_rgn(
    model: nn.Module,
    batches: Iterable[Any],
    target: Any = 'backbone',
    granularity: str = 'tensor',
    count: Optional[int] = None,
    progress: Optional[Callable[[int], None]] = None,
) -> RGNTable:
    """The paper's analysis: RGN averaged over batches, as by :func:`gradient_passes`."""
    choice('granularity', granularity, GRANULARITIES)
    stage_map = StageMap.of(model, target)
    named = dict(model.named_parameters())
    parameters = {name: named[name] for name in stage_map.parameters}
    found: list[Deferred] = []
    frozen: tuple[str, ...] = ()
    for number in gradient_passes(model, batches, count):
        frozen = frozen_stages(stage_map, parameters)
        found.append(measure(parameters, granularity))
        if progress is not None:
            progress(number)
    measured = average(part.read() for part in found)
    return RGNTable.of(measured, stage_map, frozen, kinds_of(parameters))


def usual_count(images: int, batch_size: int) -> int:
    """Batches of the paper's analysis: ``min(100, images // batch_size)``, at least one."""
    return max(1, min(100, images // max(batch_size, 1)))
