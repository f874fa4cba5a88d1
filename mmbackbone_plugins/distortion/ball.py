"""Projection into a ball around theta0 whose radius is learned."""

from collections.abc import Mapping
from math import nan
from typing import Any, Optional

import torch

from .norms import wide
from .projection import Projection, projection_kind, wide_gradient
from .sums import PART, Sums, in_parts, readable


@projection_kind('ftp')
class FastTrainableProjection(Projection):
    """Projects every tensor into a ball around theta0 whose radius is learned.

    With ``c = p' - theta0`` after the step, n the L1 norm of each of its rows (all dimensions but
    the first; of a tensor of one dimension, of all of it) plus 1e-8, and the radius ``gamma``, one
    number a tensor: ``p' = theta0 + min(gamma / n, 1) * c``. The radius begins at 1e-8, so that the
    first step leaves the weights at theta0, and is learned by Adam (rate 1e-2) from the gradient of
    the next step, ``sum_rows <g, c> / n`` with c and n of the step before; it stays between 1e-8
    and the largest n. A positive gradient, which makes the ball smaller, is multiplied by ``k``.

    Steps are counted for each tensor from the first that trains it; the authors count all together,
    which for tensors that are always trained is the same (our reading).

    Source: FTP, NeurIPS 2023, code of the authors (GT-RIPL/FTP, ``util/FTP.py``).
    """

    setting = 'k'
    LEAST, RATE, BETAS, EPS = 1e-8, 1e-2, (0.9, 0.999), 1e-8

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Of each tensor: radius, Adam's two moments, steps. Unit vectors: c / n of the last step.
        devices = {p.device for p in self._params.values()}
        if len(devices) > 1:
            raise ValueError(f'ftp: parameters are on several devices, {sorted(map(str, devices))}')
        self._place = {name: i for i, name in enumerate(self._params)}
        device = next(iter(devices), torch.device('cpu'))
        self._learned = torch.zeros(4, len(self._place), dtype=torch.float64, device=device)
        self._units: dict[str, torch.Tensor] = {}

    @classmethod
    def check(cls, value: Any) -> float:
        value = super().check(value)
        if value > 1:
            raise ValueError(f'k must be a number from 0 to 1, got {value!r}')
        return value

    @torch.no_grad()
    def before(self, scale: Optional[torch.Tensor] = None) -> None:
        self._names = [n for n, p in self._params.items() if p.grad is not None]
        slopes, rest = Sums(self._names), []
        for name in (n for n in self._names if n in self._units):
            parts = in_parts(self._params[name].grad, self._units[name])
            if parts is None:
                rest.append(name)
            for pull, unit in parts or ():
                slopes.add(name, torch.dot(pull, unit))
        for names in self._parts(rest):
            pulls = [wide_gradient(self._params[n]) for n in names]
            products = torch._foreach_mul(pulls, [self._units[n] for n in names])
            for name, product in zip(names, products):
                slopes.add(name, product.sum(dtype=torch.float64))
        self._slopes = slopes.read(self._learned.device)
        if scale is not None:
            self._slopes /= scale.to(self._slopes.device)

    @torch.no_grad()
    def after(self, skipped: Optional[torch.Tensor] = None) -> torch.Tensor:
        if not self._names:
            return self._slopes.new_zeros(2, 0)
        far = self._look()[0] if self.measures else self._slopes.new_full((len(self._names),), nan)
        kept = None if skipped is None else skipped.reshape(()) > 0
        if kept is not None and readable(kept):  # nobody is waited for
            if kept:
                return torch.stack([torch.zeros_like(far), far])
            kept = None
        index = [self._place[n] for n in self._names]
        old = self._learned[:, index]
        new = self._learn(old)
        radii = new[0].clamp_(min=self.LEAST)
        limits: list[Any] = radii.tolist() if readable(radii) else list(radii.unbind())
        most, shares = [], []
        for name, limit in zip(self._names, limits):
            p, unit = self._params[name], self._units.get(name)
            # No copy, for most types, but where the step may have been skipped.
            now = p.detach().to(wide(p.dtype), copy=kept is not None)
            if isinstance(limit, torch.Tensor):  # torch 2.0 clamps by one of the same type only
                limit = limit.to(now.dtype)
            c = torch.empty_like(now) if unit is None or kept is not None else unit
            n = _project(now, self._anchor[name].to(now.dtype), c, limit, self.LEAST)
            most.append(n.amax())
            if self.measures:
                shares.append(1 - (n.clamp(max=limit) / n).mean())
            if kept is not None:
                now = torch.where(kept, p, now)
                c = torch.where(kept, 0 if unit is None else unit, c)
            if kept is not None or now.dtype != p.dtype:
                p.copy_(now)
            self._units[name] = c
        torch.minimum(radii, torch.stack(most), out=radii)
        self._learned[:, index] = new if kept is None else torch.where(kept, old, new)
        share = torch.stack(shares).to(far) if shares else far
        return torch.stack([share if kept is None else torch.where(kept, 0, share), far])

    def _learn(self, old: torch.Tensor) -> torch.Tensor:
        """Radius, moments and steps after this step, without the limit from above."""
        gamma, first, second, steps = old
        slope = torch.where(self._slopes > 0, self.value * self._slopes, self._slopes)
        one, two = self.BETAS
        fresh, steps = steps == 0, steps + 1
        first = torch.where(fresh, first, one * first + (1 - one) * slope)
        second = torch.where(fresh, second, two * second + (1 - two) * slope**2)
        size = (second / (1 - two**steps)).sqrt() + self.EPS
        gamma = gamma - self.RATE * first / (1 - one**steps) / size
        return torch.stack([torch.where(fresh, self.LEAST, gamma), first, second, steps])

    def state_dict(self) -> dict[str, Any]:
        units = {name: unit.cpu() for name, unit in self._units.items()}
        return dict(names=list(self._place), learned=self._learned.cpu(), units=units)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        there = {name: i for i, name in enumerate(state['names'])}
        missing = [name for name in self._place if name not in there]
        if missing:
            raise ValueError(f'the saved radii have none for {missing[0]!r}')
        order = [there[name] for name in self._place]
        self._learned.copy_(state['learned'][:, order])
        self._units = {
            name: unit.to(self._learned.device, copy=True)
            for name, unit in state['units'].items()
            if name in self._place
        }


def _project(
    p: torch.Tensor, theta0: torch.Tensor, c: torch.Tensor, radius: Any, least: float
) -> torch.Tensor:
    """Writes ``c / n`` for ``c = p - theta0``, and projects p.

    Returns:
        n: L1 norms of rows, plus ``least``. Of a tensor of one dimension there is one.
    """
    whole: list[Any] = [(p, theta0, c)]
    if p.dim() > 1 and readable(p):  # some rows at a time, which stay in the cache
        rows = max(1, PART * len(p) // p.numel())
        whole = list(zip(*(t.split(rows) for t in (p, theta0, c))))
    norms = []
    for now, then, part in whole:
        torch.sub(now, then, out=part)
        flat = part.flatten(1) if part.dim() > 1 else part.reshape(1, -1)
        # On a CPU faster than the norm of torch, and as exact: it adds up in pairs.
        n = flat.abs().sum(1) if readable(flat) else torch.linalg.vector_norm(flat, 1, 1)
        n = n.view(-1, *[1] * (part.dim() - 1)).add_(least)
        n = n if part.dim() else n[0]
        norms.append(n)
        part.div_(n)
        if not readable(n) or n.amax() > radius:  # else all of it is inside
            torch.addcmul(then, n.clamp(max=radius), part, out=now)
    return torch.cat(norms) if len(norms) > 1 else norms[0]
