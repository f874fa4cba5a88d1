"""One step of full fine-tuning, counted beside a run that does not fine-tune everything."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import nn

from ..cost.counting import OperatorCounter
from ..cost.flops import StepFlops
from ..distortion.passes import allow_single_values
from ..utils.branches import losses_of
from ..utils.untouched import untouched, untouched_attributes


def count_full_step(
    runner, model: nn.Module, batch: Any, trainable: frozenset[str]
) -> tuple[StepFlops, str]:
    """Counts forward and backward for one image with everything trainable.

    Everything is put back (:func:`untouched`), and nothing is exchanged with other ranks. Returns
    FLOPs for the first image of ``batch``, and its shape as :func:`batch_shape` names it.
    """
    detector = cast(Any, model)
    with beside_the_run(runner, model) as context, torch.enable_grad():
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
        data = detector.data_preprocessor(_first_image(copy.deepcopy(batch)), True)
        shape = batch_shape(data)
        with OperatorCounter() as counter:
            with context:
                losses = losses_of(model, data)
            detector.parse_losses(losses)[0].backward()
    return StepFlops.of(counter), shape


@contextmanager
def beside_the_run(runner, model: nn.Module) -> Iterator[Any]:
    """Lets a model in train mode take one image by itself, and leaves no trace of that in a run.

    Yields the context of a step's forward pass.
    """
    try:
        context = runner.optim_wrapper.optim_context(nn.Module())  # autocast, if the run has it
    except NotImplementedError:  # several optimizers
        context = nullcontext()
    hub = untouched_attributes([runner.message_hub])
    with untouched(model), hub, without_process_group():
        model.train()
        allow_single_values(model)
        yield context


@contextmanager
def without_process_group() -> Iterator[None]:
    """Leaves torch without its default process group for a while.

    Losses that average over ranks, and SyncBN, ask for it before they talk to other ranks. Without
    it they wait for nobody, so that a rank on which this fails (memory, as a rule) cannot leave the
    others waiting for ever.
    """
    if not torch.distributed.is_available():
        yield
        return
    group = torch.distributed.group
    world, group.WORLD = group.WORLD, None
    try:
        yield
    finally:
        group.WORLD = world


def batch_shape(data: Any) -> str:
    """Shape of what a data preprocessor has made, ``'NxHxW'``; ``'unknown'`` if it has no images.

    Batches of several parts (labelled and unlabelled images) are named like one of as many images
    of the first part's size.
    """
    inputs = data.get('inputs') if isinstance(data, dict) else data[0] if data else None
    parts: list[Any] = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    if not parts or not all(isinstance(p, torch.Tensor) and p.dim() == 4 for p in parts):
        return 'unknown'
    height, width = parts[0].shape[-2:]
    return f'{sum(len(p) for p in parts)}x{height}x{width}'


def _first_image(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {key: _first_image(value) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], (list, tuple)):
        return [_first_image(value) for value in batch]
    if isinstance(batch, (list, tuple)):  # branches have gaps where others have images
        return [value for value in batch if value is not None][:1]
    return batch[:1] if isinstance(batch, torch.Tensor) else batch
