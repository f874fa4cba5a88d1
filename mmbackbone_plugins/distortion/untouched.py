"""Running a model for a look, and leaving it, and all random numbers, as if nothing had been."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ..modes import modes_of, set_modes


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Puts everything back that a forward or backward pass changes.

    Modes, buffers (running statistics), gradients, ``requires_grad``, and the state of the random
    numbers of Python, numpy and torch on all devices. Parameters are not copied: do not step.

    Args:
        model: The model, without a distributed wrapper.
    """
    modes = modes_of(model)
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    for p, _, _ in parameters:
        p.grad = None
    try:
        with untouched_random_numbers():
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                # Compared first: a write, even of equal bits, would be seen by autograd.
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
        set_modes(modes)  # before requires_grad: backbones freeze their stages in train()
        for p, wanted, gradient in parameters:
            p.requires_grad_(wanted)
            p.grad = gradient


@contextmanager
def untouched_random_numbers() -> Iterator[None]:
    """Puts the state of all random numbers back."""
    python, numpy = random.getstate(), np.random.get_state()
    cpu = torch.get_rng_state()
    # Asking for the state would start CUDA in a process that does not use it.
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


def seed_everything(seed: int) -> None:
    """Sets the seeds of Python, numpy and torch, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
