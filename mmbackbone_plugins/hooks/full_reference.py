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

    Everything in the model is put back, and random numbers are (:func:`untouched`). One image needs
    less memory than the run's own batch as a rule. Where there are several ranks, nothing is
    exchanged with them.

    Args:
        runner: The runner.
        model: Its model, without a wrapper.
        batch: A batch as the training loader yields it; left as it is.
        trainable: Names of the parameters that full fine-tuning trains.

    Returns:
        FLOPs for the image, and its shape as :func:`batch_shape` names it.
    """
    wrapper, detector = runner.optim_wrapper, cast(Any, model)
    try:
        context = wrapper.optim_context(nn.Module())  # autocast, if the run has it
    except NotImplementedError:  # several optimizers
        context = nullcontext()
    hub = untouched_attributes([runner.message_hub])
    with untouched(model), hub, torch.enable_grad(), alone():
        model.train()
        allow_single_values(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trainable)
        data = detector.data_preprocessor(_first_image(copy.deepcopy(batch)), True)
        shape = batch_shape(data)
        with OperatorCounter() as counter:
            with context:
                losses = losses_of(model, data)
            loss, _ = detector.parse_losses(losses)
            loss.backward()
    return StepFlops.of(counter), shape


@contextmanager
def alone() -> Iterator[None]:
    """Lets a process of several compute for itself.

    Losses that average over ranks, and SyncBN, ask torch whether there is a process group. Told
    that there is none they wait for nobody, so that a rank on which this fails (memory, as a rule)
    cannot leave the others waiting for ever.
    """
    asked = torch.distributed.is_initialized
    torch.distributed.is_initialized = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_initialized = asked


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
