"""Projections towards theta0 that act after the optimizer's step, so that none rescales them.

A penalty on the gradient is divided by AdamW's running magnitude like the rest of it; what is done
to the weights after the step is not. A kind of projection is one class with the decorator
:func:`projection_kind`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import torch
from torch import nn

from .norms import l2_norms, wide
from .regularizer import check_coeff

_AT_ONCE = 2**22  # entries whose distances are held at a time
_PART = 2**15  # entries that a CPU looks at together


class Projection:
    """One kind of projection on a set of parameters, step after step.

    :meth:`before` is called right before the optimizer's step, with final gradients, and
    :meth:`after` right after it. Nothing waits for the device.

    Attributes:
        setting: Name of the one setting of this kind.

    Args:
        params: Parameters by name.
        anchor: theta0 by name, of the same shapes and on the same devices; it is not changed.
        value: The setting.

    Raises:
        ValueError: If the setting is not allowed.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins.distortion.projection import projection_kinds
        >>> weight, theta0 = torch.nn.Parameter(torch.tensor([2.0])), torch.tensor([1.0])
        >>> rule = projection_kinds()['spd']({'w': weight}, {'w': theta0}, 1.0)
        >>> weight.grad = torch.tensor([1.0])  # asks to go back
        >>> rule.before()
        >>> weight.data += 1.0  # a step that goes on, say for its momentum
        >>> share, distance = rule.after().unbind()
        >>> share, weight.data
        (tensor([0.5000], dtype=torch.float64), tensor([2.]))
    """

    setting = 'coeff'

    def __init__(
        self, params: Mapping[str, nn.Parameter], anchor: Mapping[str, torch.Tensor], value: float
    ) -> None:
        self.value = self.check(value)
        self._params, self._anchor = dict(params), anchor
        self._names: list[str] = []  # of what trains in this step

    @classmethod
    def check(cls, value: Any) -> float:
        """Returns the setting, or raises a ValueError."""
        return check_coeff(value, cls.setting)

    def before(self, scale: Optional[torch.Tensor] = None) -> None:
        """Looks at weights and gradients before the step.

        Args:
            scale: Loss scale that the gradients still carry.
        """
        raise NotImplementedError

    def after(self, skipped: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Projects the weights that had a gradient, in place.

        Args:
            skipped: Positive, on the device, if a loss scaler has skipped the step: then nothing
                is changed. None: it was taken.

        Returns:
            Shape ``(2, tensors)``, on the device: the share of each tensor's distance to theta0
            that was taken back, and the distance before that.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with it."""

    def _moved(self, names: Iterable[str]) -> Iterator[tuple[list[str], list[torch.Tensor]]]:
        """Names and ``p - theta0``, some tensors of one type and device at a time."""
        for part in self._parts(names):
            tensors = [self._params[n].detach() for n in part]
            tensors = [t.to(wide(t.dtype)) for t in tensors]
            yield part, list(torch._foreach_sub(tensors, [self._anchor[n] for n in part]))

    def _parts(self, names: Iterable[str]) -> Iterator[list[str]]:
        groups: dict[tuple, list[str]] = {}
        for name in names:
            p = self._params[name]
            groups.setdefault((p.device, p.dtype), []).append(name)
        for group in groups.values():
            part: list[str] = []
            size = 0
            for name in group:
                if part and size + self._params[name].numel() > _AT_ONCE:
                    yield part
                    part, size = [], 0
                part.append(name)
                size += self._params[name].numel()
            yield part


_KINDS: dict[str, type[Projection]] = {}


def projection_kind(name: str) -> Callable[[type[Projection]], type[Projection]]:
    """Registers a kind of projection under the name that configs use.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins.distortion.projection import Projection, projection_kind
        >>> @projection_kind('halfway')
        ... class Halfway(Projection):
        ...     setting = 'coeff'
        >>> custom_hooks = [dict(type='WeightProjectionHook', kind='halfway', coeff=1.0)]
    """

    def register(kind: type[Projection]) -> type[Projection]:
        _KINDS[name] = kind
        return kind

    return register


def projection_kinds() -> Mapping[str, type[Projection]]:
    """All kinds by name."""
    return _KINDS


@projection_kind('spd')
class SelectiveProjectionDecay(Projection):
    """Takes back, tensor by tensor, by how much a step went away from theta0 against the gradient.

    With p and g before the step, p' after it and ``d = p - theta0``, where ``<g, d> > 0`` (the
    gradient asks to go back): ``p' -= coeff * r * (p' - theta0)``, ``r = clip((|p' - theta0| - |d|)
    / |p' - theta0|, 0, 1)``. It stands in place of weight decay.

    Source: AdamSPD, NeurIPS 2024, code of the authors (GT-RIPL/Selective-Projection-Decay).
    """

    @torch.no_grad()
    def before(self, scale: Optional[torch.Tensor] = None) -> None:
        self._names = [n for n, p in self._params.items() if p.grad is not None]
        # The sign of the slope alone counts, and a loss scale does not change it.
        self._before = self._look(gradients=True)

    @torch.no_grad()
    def after(self, skipped: Optional[torch.Tensor] = None) -> torch.Tensor:
        # Of a skipped step the distances are equal, and nothing is taken back.
        (near, slope), (far, _) = self._before, self._look(gradients=False)
        away = ((far - near) / far).clamp(0, 1)
        share = torch.where((slope > 0) & (far > near), self.value * away, 0.0)
        factors: dict[str, Any] = dict(zip(self._names, share.unbind()))
        if share.is_cpu:  # nobody is waited for, and most tensors are left in most steps
            factors = {n: f for n, f in factors.items() if f}
        for names, moved in self._moved(factors):
            # Lists for mypy: torch says that these are of numbers.
            back: list[Any] = list(moved)
            torch._foreach_mul_(back, [factors[n].to(m.device) for n, m in zip(names, back)])
            torch._foreach_sub_([self._params[n] for n in names], back)
        return torch.stack([share, far])

    def _look(self, gradients: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances of all tensors that train, and their inner products with the gradients."""
        distances: dict[str, torch.Tensor] = {}
        slopes: dict[str, torch.Tensor] = {}
        rest = []
        for name in self._names:
            p = self._params[name]
            tensors: list[Any] = [p.detach(), self._anchor[name]] + [p.grad] * gradients
            if all(t.is_cpu and t.is_contiguous() and t.dtype == torch.float32 for t in tensors):
                distances[name], slopes[name] = _in_parts(*(t.view(-1) for t in tensors))
            else:
                rest.append(name)
        for names, moved in self._moved(rest):
            distances.update(zip(names, l2_norms(moved)))
            if gradients:
                pulls = [_wide_gradient(self._params[n]) for n in names]
                slopes.update(zip(names, map(_dot, moved, pulls)))
        found = [_stacked([d[n] for n in self._names if n in d]) for d in (distances, slopes)]
        return found[0], found[1]


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
        zero = self._learned.new_zeros(())
        slopes = [
            _dot(_wide_gradient(self._params[n]), self._units[n]) if n in self._units else zero
            for n in self._names
        ]
        self._slopes = _stacked(slopes)
        if scale is not None:
            self._slopes /= scale.to(self._slopes.device)

    @torch.no_grad()
    def after(self, skipped: Optional[torch.Tensor] = None) -> torch.Tensor:
        if not self._names:
            return _both([], [])
        index = [self._place[n] for n in self._names]
        old = self._learned[:, index]
        new = self._learn(old)
        shares: dict[str, torch.Tensor] = {}
        distances: dict[str, torch.Tensor] = {}
        kept = None if skipped is None else skipped.reshape(()) > 0
        at = {name: i for i, name in enumerate(self._names)}
        for names, moved in self._moved(self._names):
            norms = [_row_norms(c) + self.LEAST for c in moved]
            most = _stacked([n.amax() for n in norms])
            part = [at[n] for n in names]
            radii = torch.minimum(new[0, part], most.double()).clamp_(min=self.LEAST)
            new[0, part] = radii
            distances.update(zip(names, l2_norms(moved)))
            for name, c, n, radius in zip(names, moved, norms, radii.unbind()):
                p, unit = self._params[name], self._units.get(name)
                ratio = (radius / n).clamp_(max=1)
                inside = torch.addcmul(self._anchor[name].to(c.dtype), ratio, c)
                share, c = 1 - ratio.mean(), c.div_(n)
                if kept is not None:
                    inside, share = torch.where(kept, p, inside), torch.where(kept, 0, share)
                    c = torch.where(kept, 0 if unit is None else unit, c)
                p.copy_(inside)
                self._units[name], shares[name] = c, share
        self._learned[:, index] = new if kept is None else torch.where(kept, old, new)
        return _both(*([_stacked([d[n] for n in self._names])] for d in (shares, distances)))

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
            name: unit.to(self._learned.device)
            for name, unit in state['units'].items()
            if name in self._place
        }


def _row_norms(c: torch.Tensor) -> torch.Tensor:
    """L1 norms over all dimensions but the first; of a tensor of one dimension over all."""
    dims = tuple(range(1, c.dim())) or tuple(range(c.dim()))
    return torch.linalg.vector_norm(c, 1, dims, keepdim=True) if dims else c.abs()


def _in_parts(
    p: torch.Tensor, anchor: torch.Tensor, gradient: Optional[torch.Tensor] = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance, and inner product with the gradient, of flat tensors that stay in a CPU's cache."""
    room, wider = torch.empty(_PART), torch.empty(_PART, dtype=torch.float64)
    squares, slopes = [p.new_zeros((), dtype=torch.float64)], [p.new_zeros(())]
    for start in range(0, len(p), _PART):
        part = slice(start, start + _PART)
        moved = torch.sub(p[part], anchor[part], out=room[: len(p[part])])
        exact = wider[: len(moved)].copy_(moved)
        squares.append(torch.dot(exact, exact))
        if gradient is not None:
            slopes.append(torch.dot(moved, gradient[part]))
    return torch.stack(squares).sum().sqrt(), torch.stack(slopes).sum(dtype=torch.float64)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(dtype=torch.float64)


def _wide_gradient(parameter: nn.Parameter) -> torch.Tensor:
    gradient = parameter.grad
    assert gradient is not None
    gradient = gradient if gradient.layout == torch.strided else gradient.to_dense()
    return gradient.to(wide(gradient.dtype))


def _stacked(scalars: Sequence[torch.Tensor]) -> torch.Tensor:
    if not scalars:
        return torch.zeros(0)
    return torch.stack([s.to(scalars[0].device) for s in scalars])


def _both(shares: Sequence[torch.Tensor], distances: Sequence[torch.Tensor]) -> torch.Tensor:
    if not shares:
        return torch.zeros(2, 0)
    rows = [[t.to(shares[0].device, torch.float64) for t in row] for row in (shares, distances)]
    return torch.stack([torch.cat(row) for row in rows])
