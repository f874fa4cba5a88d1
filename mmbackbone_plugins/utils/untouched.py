"""Running a model for a look, and leaving it, and all random numbers, as if nothing had been."""

import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Puts everything back that a forward or backward pass changes in a model without a wrapper.

    Modes, parameters, buffers, gradients, ``requires_grad``, whatever else the modules keep in
    themselves, and the state of all random numbers. Takes the memory of a second set of weights.
    """
    modules = modules_of(model)
    owned: dict[torch.Tensor, Any] = dict.fromkeys(
        p for m in modules for p in m.parameters(recurse=False)
    )
    parameters = [(p, p.requires_grad, p.grad) for p in owned]
    owned.update(dict.fromkeys(b for m in modules for b in m.buffers(recurse=False)))
    tensors = [(t, t.detach().clone()) for t in owned]
    for p, _, _ in parameters:
        p.grad = None
    try:
        with untouched_random_numbers(), untouched_attributes(modules):
            yield
    finally:
        with torch.no_grad():
            for tensor, before in tensors:
                # Compared first: a write, even of equal bits, would be seen by autograd.
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
        for p, wanted, gradient in parameters:
            p.requires_grad_(wanted)
            p.grad = gradient


def modules_of(model: nn.Module) -> list[nn.Module]:
    """All modules of a model, and those that it keeps outside the tree, such as a teacher."""
    found = dict.fromkeys(model.modules())
    rest = list(found)
    while rest:
        for value in vars(rest.pop()).values():
            parts = value.values() if isinstance(value, dict) else value
            for part in parts if isinstance(value, (dict, list, tuple)) else [value]:
                inside = part.modules() if isinstance(part, nn.Module) else ()
                new = dict.fromkeys(m for m in inside if m not in found)
                found.update(new)
                rest += new
    return list(found)


@contextmanager
def untouched_attributes(objects: Iterable[Any]) -> Iterator[None]:
    """Lets objects work with copies of all their attributes, and puts the originals back.

    Detectors keep more than buffers: histories of samples, the last input size, thresholds of their
    assigners, counters of their losses. The originals come back, not equal copies of them, so that
    others who hold one go on holding the right one. Modules among the objects (of a model all of
    them), their parameters and buffers, and registered hooks are no copies; nor is an attribute
    that cannot be copied (a process group).
    """
    objects = list(objects)
    before = [dict(vars(o)) for o in objects]
    for o, copies in zip(objects, _copies(objects, before)):
        vars(o).update(copies)
    try:
        yield
    finally:
        for o, originals in zip(objects, before):
            vars(o).clear()
            vars(o).update(originals)


def _copies(objects: list[Any], attributes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the attributes of all objects together: what they share, the copies share."""
    kept = {id(o): o for o in objects}
    for o in objects:
        if isinstance(o, nn.Module):
            kept.update((id(t), t) for t in (*o.parameters(False), *o.buffers(False)))
    for own in attributes:
        hooks = [value for name, value in own.items() if name.endswith('_hooks')]
        kept.update((id(h), h) for part in hooks if isinstance(part, dict) for h in part.values())
    while True:
        memo: dict[int, Any] = dict(kept)
        try:
            copies: list[dict[str, Any]] = []
            for own in attributes:
                copies.append(found := {})
                for name, value in own.items():
                    found[name] = copy.deepcopy(value, memo)
            return copies
        except Exception:
            # Once more from the start: the memo has parts of the copy that failed.
            kept[id(value)] = value


@contextmanager
def untouched_random_numbers() -> Iterator[None]:
    """Puts the state of all random numbers back."""
    python, numpy = random.getstate(), np.random.get_state()
    # Asking for the state would start CUDA in a process that does not use it.
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_everything(seed: int) -> None:
    """Sets the seeds of Python, numpy and torch, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed would note a traceback for a CUDA that is not there: slower than the rest.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
