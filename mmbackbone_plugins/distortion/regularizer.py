"""The penalty that holds weights to where they started: ``p.grad += s * (p - theta0)``.

It is added to the gradient, not to the loss, so that it needs no second backward pass and no
graph: the gradient of ``s / 2 * ||p - theta0||^2`` is known. Source: "Mind the Backbone", arXiv
2303.14744, ``tools/utils.py`` of the authors' code.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

import torch
from torch import nn

from .norms import l2_norms

Rates = Union[float, Mapping[str, float]]


def add_penalty_gradient(
    params: Mapping[str, nn.Parameter],
    anchor: Mapping[str, torch.Tensor],
    importance: Optional[Mapping[str, torch.Tensor]],
    coeff: float,
    lr: Rates,
) -> None:
    """Adds the gradient of the penalty to the gradients, in place.

    ``p.grad += s * (p - theta0)`` with ``s = coeff`` where there is no importance, otherwise
    ``s = clip(coeff * importance, 0, 1 / lr)``. At ``s = 1 / lr`` a plain SGD step lands on
    ``theta0 - lr * g``; a stronger pull would overshoot theta0. With momentum or weight decay that
    guarantee is lost.

    Parameters without a gradient are frozen, and are left alone. Where several steps are made, a
    :class:`Penalty` saves the preparation.

    Args:
        params: Parameters by name; their gradients must be true (unscaled, averaged over ranks).
        anchor: theta0 by name, of the same shapes and on the same devices.
        importance: Importance by name, of a shape that broadcasts to the parameter's; None: all
            weights alike (``'uniform'``).
        coeff: Strength, at least 0.
        lr: Learning rate, one for all or by name.

    Raises:
        ValueError: If ``coeff`` is not a finite number of at least 0, or the anchor or importance
            has no entry of the right shape for a parameter.

    Source:
        arXiv 2303.14744, ``gradient_modifier`` of the authors' code.
    """
    Penalty(params, anchor, importance, coeff).add(lr)


def check_coeff(coeff: Any) -> float:
    """Returns a strength, or raises.

    Raises:
        ValueError: If it is not a finite number of at least 0.
    """
    number = isinstance(coeff, (int, float)) and not isinstance(coeff, bool)
    if not number or not math.isfinite(coeff) or coeff < 0:
        raise ValueError(f'coeff must be a finite number of at least 0, got {coeff!r}')
    return float(coeff)


@dataclass(frozen=True)
class Pull:
    """How the penalty compares with the loss at one step, still on the device.

    Attributes:
        names: Parameters with a gradient.
        numbers: Shape ``(3, len(names))``: norm of the loss gradient, norm of what is added to it,
            value of the penalty ``s / 2 * ||p - theta0||^2``.
    """

    names: tuple[str, ...]
    numbers: torch.Tensor


def compare(
    pulls: Iterable[Pull], groups: Mapping[str, Iterable[str]]
) -> tuple[float, Optional[float], dict[str, float]]:
    """Brings measurements of one step from the device and sums them up.

    Args:
        pulls: Measurements of different parameters.
        groups: Names of parameters by group, e.g. by stage.

    Returns:
        The penalty; the norm of what it adds to the gradients over the norm of the loss gradient,
        None without a gradient; and that ratio by group, without groups that have no gradient.
    """
    rows: dict[str, list[float]] = {}
    for pull in pulls:
        if pull.names:
            rows.update(zip(pull.names, pull.numbers.double().cpu().T.tolist()))
    ratios = {}
    for group, names in [(None, rows), *groups.items()]:
        inside = [rows[n] for n in names if n in rows]
        loss = math.fsum(row[0] ** 2 for row in inside) ** 0.5
        added = math.fsum(row[1] ** 2 for row in inside) ** 0.5
        if loss > 0:
            ratios[group] = added / loss
    return math.fsum(row[2] for row in rows.values()), ratios.pop(None, None), ratios


class Penalty:
    """The penalty on a set of parameters, step after step.

    Needs no memory beyond theta0 and the importance but one buffer as large as the largest tensor.

    Args:
        params: See :func:`add_penalty_gradient`.
        anchor: theta0 by name.
        importance: Importance by name, or None.
        coeff: Strength.

    Raises:
        ValueError: See :func:`add_penalty_gradient`.
    """

    def __init__(
        self,
        params: Mapping[str, nn.Parameter],
        anchor: Mapping[str, torch.Tensor],
        importance: Optional[Mapping[str, torch.Tensor]],
        coeff: float,
    ) -> None:
        self.coeff = check_coeff(coeff)
        self._params = dict(params)
        self._anchor, self._importance = anchor, importance
        for name, parameter in self._params.items():
            _check_fits('anchor', anchor, name, parameter, exact=True)
            if importance is not None:
                _check_fits('importance', importance, name, parameter, exact=False)
        # Extremes of the importance are known from the start, so that a step need not clip, or
        # look, where no value can reach the limits.
        self._extremes: dict[str, tuple[float, float]] = {}
        if importance is not None and self._params:
            ends = [torch.stack(torch.aminmax(importance[n])).double().cpu() for n in self._params]
            self._extremes = dict(zip(self._params, map(tuple, torch.stack(ends).tolist())))
            for name, ends in self._extremes.items():
                if not all(map(math.isfinite, ends)):
                    raise ValueError(f'importance of {name!r} has NaN or Inf')
        self._buffers: dict[tuple, torch.Tensor] = {}

    @torch.no_grad()
    def add(self, lr: Rates, scale: Optional[torch.Tensor] = None) -> None:
        """Adds the penalty to the gradients of all parameters that have one.

        Args:
            lr: Learning rate, one for all or by name.
            scale: Loss scale that the gradients still carry; the penalty is multiplied by it.
        """
        for name, parameter in self._params.items():
            if parameter.grad is None:
                continue
            moved = self._moved(name, parameter)
            if scale is not None:
                moved.mul_(scale)
            weight, factor = self._strength(name, _rate(lr, name))
            if weight is None:
                parameter.grad.add_(moved, alpha=factor)
            else:
                parameter.grad.addcmul_(weight.to(moved.dtype), moved, value=factor)

    @torch.no_grad()
    def measure(self, lr: Rates, scale: Optional[torch.Tensor] = None) -> Pull:
        """Compares the penalty with the gradients as they are; changes nothing, waits for nothing.

        Args:
            lr: Learning rate, one for all or by name.
            scale: Loss scale that the gradients still carry.
        """
        held = {n: p for n, p in self._params.items() if p.grad is not None}
        added, values = [], []
        for name, parameter in held.items():
            moved = self._moved(name, parameter)
            weight, factor = self._strength(name, _rate(lr, name))
            pull = moved * factor if weight is None else (moved * weight).mul_(factor)
            # One by one: no more than one tensor's pull is held at a time.
            added += l2_norms([pull])
            values.append(pull.mul_(moved).sum(dtype=torch.float32) / 2)
        losses = l2_norms([p.grad for p in held.values()])
        if not held:
            return Pull((), torch.zeros(3, 0))
        device = values[0].device
        numbers = torch.stack(
            [torch.stack([t.to(device).float() for t in row]) for row in (losses, added, values)]
        )
        if scale is not None:
            numbers[0] /= scale.to(device)
        return Pull(tuple(held), numbers)

    def _moved(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        """``p - theta0`` in the shared buffer: exactly zero where they are equal."""
        if not parameter.is_contiguous():
            return parameter.detach() - self._anchor[name]
        key = (parameter.device, parameter.dtype)
        if key not in self._buffers:
            largest = max(p.numel() for p in self._params.values() if (p.device, p.dtype) == key)
            self._buffers[key] = torch.empty(largest, device=key[0], dtype=key[1])
        room = self._buffers[key][: parameter.numel()].view(parameter.shape)
        return torch.sub(parameter.detach(), self._anchor[name], out=room)

    def _strength(self, name: str, rate: float) -> tuple[Optional[torch.Tensor], float]:
        """The strength s as a tensor, or None for all alike, and a factor on it."""
        if self._importance is None:
            return None, self.coeff
        weight, (least, most) = self._importance[name], self._extremes[name]
        cap = 1 / rate if rate > 0 else math.inf
        if least >= 0 and self.coeff * most <= cap:
            return weight, self.coeff
        return (weight * self.coeff).clamp_(0, cap), 1.0


def _rate(lr: Rates, name: str) -> float:
    return float(lr[name] if isinstance(lr, Mapping) else lr)


def _check_fits(what: str, given: Mapping, name: str, parameter: nn.Parameter, exact: bool) -> None:
    if name not in given:
        raise ValueError(f'{what} has no entry for parameter {name!r}')
    shape, own = tuple(given[name].shape), tuple(parameter.shape)
    fits = shape == own
    if not exact and not fits and len(shape) <= len(own):
        fits = all(a in (1, b) for a, b in zip(shape[::-1], own[::-1]))
    if not fits:
        raise ValueError(f'{what} of {name!r} has shape {shape}, the parameter has {own}')
