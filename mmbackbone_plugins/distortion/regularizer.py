"""The penalty that holds weights to where they started.

It is added to the gradient, not to the loss, so that it needs no second backward pass and no
graph: the gradient of ``s / 2 * ||p - theta0||^2`` is known.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Optional, Union

import torch
from torch import nn

from ..utils.checks import is_number
from .norms import l2_norms, wide

Rates = Union[float, Mapping[str, float]]


def add_penalty_gradient(
    params: Mapping[str, nn.Parameter],
    anchor: Mapping[str, torch.Tensor],
    importance: Optional[Mapping[str, torch.Tensor]],
    coeff: float,
    lr: Rates,
    capped: Optional[bool] = None,
) -> None:
    """Adds the gradient of the penalty to the gradients, in place.

    ``p.grad += s * (p - theta0)`` with ``s = coeff`` where there is no importance, otherwise
    ``s = clip(coeff * importance, 0, 1 / lr)``. At ``s = 1 / lr`` a plain SGD step lands on
    ``theta0 - lr * g``; a stronger pull would overshoot theta0. With momentum or weight decay that
    guarantee is lost.

    Computed in float32 or wider; a gradient in half precision ends at the limits of its type
    instead of Inf. Parameters without a gradient are frozen, and are left alone. Where several
    steps are made, a :class:`Penalty` saves the preparation.

    Args:
        params: Parameters by name; their gradients must be true (unscaled, averaged over ranks).
        anchor: theta0 by name, of the same shapes and on the same devices.
        importance: Importance by name, of a shape that broadcasts to the parameter's; None: all
            weights alike (``'uniform'``).
        coeff: Strength, at least 0.
        lr: Learning rate, one for all or by name.
        capped: Whether s is clipped at ``1 / lr``; by default where there is an importance.

    Raises:
        ValueError: If ``coeff`` or a learning rate is not a finite number of at least 0, or the
            anchor or importance has no finite, real entry of the right shape for a parameter.

    Source:
        arXiv 2303.14744, ``gradient_modifier`` of the authors' code. The loss whose gradient this
        is has a factor 1/2: implementations of EWC without it, such as avalanche's, pull twice as
        hard at the same strength.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import add_penalty_gradient
        >>> weight, theta0 = torch.nn.Parameter(torch.tensor([3.0])), torch.tensor([1.0])
        >>> weight.grad = torch.tensor([1.0])
        >>> add_penalty_gradient({'w': weight}, {'w': theta0}, None, coeff=0.5, lr=0.1)
        >>> weight.grad
        tensor([2.])
    """
    Penalty(params, anchor, importance, coeff, capped).add(lr)


def check_coeff(coeff: Any, name: str = 'coeff') -> float:
    """Returns a strength; a ValueError if it is not a finite number of at least 0."""
    if not is_number(coeff, 0):
        raise ValueError(f'{name} must be a finite number of at least 0, got {coeff!r}')
    return float(coeff)


@dataclass(frozen=True)
class Pull:
    """How the penalty compares with the loss at one step, still on the device."""

    names: tuple[str, ...]  # parameters that have a gradient
    # (3, len(names)): norms of the loss gradient and of what is added to it, the penalty's value.
    numbers: torch.Tensor


def compare(
    pulls: Iterable[Pull], groups: Mapping[str, Iterable[str]]
) -> tuple[float, Optional[float], dict[str, float]]:
    """Brings measurements of one step from the device and sums them up.

    Returns the penalty; the norm of what it adds to the gradients over the norm of the loss
    gradient, None without a gradient; and that ratio by group that has one.
    """
    rows: dict[str, list[float]] = {}
    for pull in pulls:
        if pull.names:
            rows.update(zip(pull.names, pull.numbers.double().cpu().T.tolist()))

    def ratio(names: Iterable[str]) -> Optional[float]:
        inside = [rows[n] for n in names if n in rows]
        loss, added = (math.hypot(*(row[i] for row in inside)) for i in (0, 1))
        return added / loss if loss > 0 else None

    found = {group: ratio(names) for group, names in groups.items()}
    ratios = {group: value for group, value in found.items() if value is not None}
    return math.fsum(row[2] for row in rows.values()), ratio(rows), ratios


class Penalty:
    """The penalty on a set of parameters, step after step; see :func:`add_penalty_gradient`.

    Needs no memory beyond theta0 and the importance but one buffer as large as the largest tensor.
    """

    def __init__(
        self,
        params: Mapping[str, nn.Parameter],
        anchor: Mapping[str, torch.Tensor],
        importance: Optional[Mapping[str, torch.Tensor]],
        coeff: float,
        capped: Optional[bool] = None,
    ) -> None:
        self.coeff = check_coeff(coeff)
        self.capped = importance is not None if capped is None else capped
        self._params = dict(params)
        self._anchor = _fitting('anchor', anchor, self._params, exact=True)
        _extremes('anchor', self._anchor)
        self._importance = None
        if importance is not None:
            self._importance = _fitting('importance', importance, self._params, exact=False)
        # Known from the start, so that a step need not clip, or look, where no value can reach
        # the limits.
        self._extremes = _extremes('importance', self._importance or {})
        self._buffers: dict[tuple, torch.Tensor] = {}

    @torch.no_grad()
    def add(self, lr: Rates, scale: Optional[torch.Tensor] = None) -> None:
        """Adds the penalty to the gradients, times a loss ``scale`` that they still carry."""
        for name, parameter, gradient, rate in self._held(lr):
            moved = self._moved(name, parameter)
            if scale is not None:
                moved.mul_(scale)
            weight, factor = self._strength(name, rate, moved.dtype)
            total = gradient if gradient.dtype == moved.dtype else gradient.to(moved.dtype)
            if weight is None:
                total.add_(moved, alpha=factor)
            else:
                total.addcmul_(weight, moved, value=factor)
            if total is not gradient:  # of half precision; what was NaN or Inf stays to be seen
                limit = torch.finfo(gradient.dtype).max
                clipped = total.clamp(-limit, limit)
                gradient.copy_(torch.where(gradient.isfinite(), clipped, total))

    @torch.no_grad()
    def measure(self, lr: Rates, scale: Optional[torch.Tensor] = None) -> Pull:
        """Compares the penalty with the gradients as they are, without changing or waiting."""
        held = self._held(lr)
        added, values = [], []
        for name, parameter, _, rate in held:
            moved = self._moved(name, parameter)
            weight, factor = self._strength(name, rate, moved.dtype)
            pull = moved * factor if weight is None else (moved * weight).mul_(factor)
            # One by one: no more than one tensor's pull is held at a time.
            added += l2_norms([pull])
            values.append(pull.double().mul_(moved).sum() / 2)
        losses = l2_norms([gradient for _, _, gradient, _ in held])
        if not held:
            return Pull((), torch.zeros(3, 0))
        device = values[0].device
        numbers = torch.stack(
            [torch.stack([t.to(device) for t in row]) for row in (losses, added, values)]
        )
        if scale is not None:
            numbers[0] /= scale.to(device)
        return Pull(tuple(name for name, *_ in held), numbers)

    def _held(self, lr: Rates) -> list[tuple[str, nn.Parameter, torch.Tensor, float]]:
        """Parameters with their gradients and rates, all checked before anything is changed."""
        named = self._params.items()
        return [(n, p, p.grad, _rate(lr, n)) for n, p in named if p.grad is not None]

    def _moved(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        """``p - theta0`` in the shared buffer: exactly zero where they are equal."""
        dtype = wide(parameter.dtype)
        if not parameter.is_contiguous():
            return parameter.detach().to(dtype) - self._anchor[name]
        key = (parameter.device, dtype)
        if key not in self._buffers:
            sizes = [p.numel() for p in self._params.values() if (p.device, wide(p.dtype)) == key]
            self._buffers[key] = torch.empty(max(sizes), device=key[0], dtype=dtype)
        room = self._buffers[key][: parameter.numel()].view(parameter.shape)
        if parameter.dtype == dtype:
            return torch.sub(parameter.detach(), self._anchor[name], out=room)
        return room.copy_(parameter.detach()).sub_(self._anchor[name])

    def _strength(
        self, name: str, rate: float, dtype: torch.dtype
    ) -> tuple[Optional[torch.Tensor], float]:
        """The strength s as a tensor, or None for all alike, and a factor on it."""
        most_of_type = torch.finfo(dtype).max
        cap = min(1 / rate if self.capped and rate > 0 else math.inf, most_of_type)
        if self._importance is None:
            return None, min(self.coeff, cap)
        coeff = min(self.coeff, most_of_type)
        weight, (least, most) = self._importance[name].to(dtype), self._extremes[name]
        if least >= 0 and coeff * most <= cap:
            return weight, coeff
        return (weight * coeff).clamp_(0, cap), 1.0


def _rate(lr: Rates, name: str) -> float:
    if isinstance(lr, Mapping):
        if name not in lr:
            raise ValueError(f'lr has no entry for parameter {name!r}')
        lr = lr[name]
    number = isinstance(lr, (Real, torch.Tensor)) and not isinstance(lr, bool)
    if not number or not 0 <= float(lr) < math.inf:
        raise ValueError(f'lr must be a finite number of at least 0, got {lr!r} for {name!r}')
    return float(lr)


def _fitting(
    what: str,
    given: Mapping[str, torch.Tensor],
    parameters: Mapping[str, nn.Parameter],
    exact: bool,
) -> dict[str, torch.Tensor]:
    """The tensors for parameters, checked."""
    found = {}
    for name, parameter in parameters.items():
        if name not in given:
            raise ValueError(f'{what} has no entry for parameter {name!r}')
        found[name] = torch.as_tensor(given[name])
        shape, own = tuple(found[name].shape), tuple(parameter.shape)
        fits = shape == own
        if not exact and not fits and len(shape) <= len(own):
            fits = all(a in (1, b) for a, b in zip(shape[::-1], own[::-1]))
        if not fits:
            raise ValueError(f'{what} of {name!r} has shape {shape}, the parameter has {own}')
        if parameter.is_complex() or found[name].is_complex():
            raise ValueError(f'{what} of {name!r}: the penalty is one on real numbers, not complex')
    return found


def _extremes(what: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each, refused if not finite."""
    held = {name: t.to(wide(t.dtype)) for name, t in tensors.items() if t.numel()}
    ends = [torch.stack(torch.aminmax(t)).double().cpu() for t in held.values()]
    found = dict.fromkeys(tensors, (0.0, 0.0))
    found.update(zip(held, map(tuple, torch.stack(ends).tolist() if ends else [])))
    for name, pair in found.items():
        if not all(map(math.isfinite, pair)):
            raise ValueError(f'{what} of {name!r} has NaN or Inf')
    return found
