"""Weights between those that fine-tuning began with and what it made of them."""

from collections.abc import Mapping
from typing import Any

import torch

from ..utils.checks import is_number
from ..utils.text import some


def interpolate(
    start: Mapping[str, torch.Tensor],
    end: Mapping[str, torch.Tensor],
    weight: float,
    target: str = '',
    extrapolate: bool = False,
) -> dict[str, torch.Tensor]:
    """Weights on the line between two ends: ``(1 - weight) * start + weight * end``.

    Computed in float64 and rounded to each tensor's own type; 0 and 1 give the floating-point
    tensors of the ends bit for bit. Running statistics of norm layers are tensors like others (our
    reading); integers, such as counters of batches, are the end's.

    Both ends need one history: of a detector whose head started at random, those of one run, e.g.
    the probed detector and what fine-tuning made of it. Between two runs of their own lies no good
    detector (our reading).

    Args:
        start: Tensors by name, as of ``state_dict()``.
        end: Tensors of the same names, shapes and types.
        weight: Place on the line, dimensionless: 0 is the start, 1 the end.
        target: Dotted path of the module that is interpolated; everything else is the end's and
            need not be in ``start``. ``''`` is all.
        extrapolate: Whether weights below 0 or above 1 are allowed.

    Returns:
        New tensors by name, in the order of ``end``.

    Raises:
        ValueError: If ``weight`` is no number from 0 to 1, names, shapes or types differ, ``end``
            has no tensor in ``target``, or extrapolation makes a running variance negative.

    Source:
        WiSE-FT, arXiv 2109.01903; of detectors: WiSE-OD, arXiv 2507.18925.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import interpolate
        >>> start, end = {'w': torch.tensor([0.0, 4.0])}, {'w': torch.tensor([2.0, 4.0])}
        >>> interpolate(start, end, 0.25)
        {'w': tensor([0.5000, 4.0000])}
    """
    weight = check_weight(weight, extrapolate)
    prefix = f'{target}.' if target else ''
    names = [name for name in end if name.startswith(prefix)]
    _check_ends(start, end, names, prefix)
    found = {name: tensor.detach().clone() for name, tensor in end.items()}
    for name in names:
        first, last = start[name].detach(), end[name].detach()
        if not last.is_floating_point() or weight == 1:
            continue
        if weight == 0:
            found[name] = first.clone()
            continue
        # Where the ends are equal, so is everything between them: the difference is zero.
        first, last = first.double(), last.double()
        mixed = torch.where(first == last, first, (1 - weight) * first + weight * last)
        if name.endswith('running_var') and bool((mixed < 0).any()):
            raise ValueError(f'weight={weight:g}: {name!r} would be a negative variance')
        found[name] = mixed.to(end[name].dtype)
    return found


def check_weight(weight: Any, extrapolate: bool = False) -> float:
    """Returns a place on the line; a ValueError if :func:`interpolate` takes no such."""
    number = is_number(weight)
    if not number or not (extrapolate or 0 <= weight <= 1):
        allowed = 'a finite number' if extrapolate else 'a number from 0 (start) to 1 (end)'
        hint = '' if extrapolate or not number else '; beyond them only with extrapolate'
        raise ValueError(f'weight must be {allowed}, got {weight!r}{hint}')
    return float(weight)


def _check_ends(start: Mapping, end: Mapping, names: list[str], prefix: str) -> None:
    if not names:
        raise ValueError(f'target {prefix[:-1]!r}: the end has no tensor in it')
    wrong = [f'{n} (not in the start)' for n in names if n not in start]
    wrong += [f'{n} (not in the end)' for n in start if n.startswith(prefix) and n not in end]
    for name in names:
        ends = [f'shape {tuple(e[name].shape)}, {e[name].dtype}' for e in (start, end) if name in e]
        if ends[0] != ends[-1]:
            wrong.append(f'{name} (start: {ends[0]}, end: {ends[1]})')
    if wrong:
        raise ValueError(f'the ends are not of one architecture: {some(wrong, 3)}')
