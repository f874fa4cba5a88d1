"""Projections towards theta0 that act after the optimizer's step, so that none rescales them.

A penalty on the gradient is divided by AdamW's running magnitude like the rest of it; what is done
to the weights after the step is not. A kind of projection is one class with the decorator
:func:`projection_kind`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Optional

import torch
from torch import nn

from .norms import l2_norms, wide
from .regularizer import check_coeff
from .sums import PART, Sums, in_parts, readable

_AT_ONCE = 2**22  # entries whose distances are held at a time


class Projection:
    """One kind of projection on a set of parameters, step after step.

    :meth:`before` is called right before the optimizer's step, with final gradients, and
    :meth:`after` right after it. Nothing waits for the device.

    Attributes:
        setting: Name of the one setting of this kind.
        measures: Whether the numbers of the next :meth:`after` are read; a kind that has to work
            for them may leave them NaN else.

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
    measures = True

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

    def _look(self, gradients: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances of all tensors that train, and their inner products with the gradients."""
        squares, slopes, room = Sums(self._names), Sums(self._names), torch.empty(PART)
        rest = []
        for name in self._names:
            p = self._params[name]
            parts = in_parts(p.detach(), self._anchor[name], *[p.grad] * gradients)
            if parts is None:
                rest.append(name)
                continue
            for now, theta0, *pulls in parts:
                moved = torch.sub(now, theta0, out=room[: len(now)])
                squares.add(name, torch.dot(moved, moved))
                for pull in pulls:
                    slopes.add(name, torch.dot(moved, pull))
        for names, tensors in self._moved(rest):
            for name, distance in zip(names, l2_norms(tensors)):
                squares.add(name, distance**2)
            if gradients:
                pulls = [wide_gradient(self._params[n]) for n in names]
                for name, products in zip(names, torch._foreach_mul(tensors, pulls)):
                    slopes.add(name, products.sum(dtype=torch.float64))
        return squares.read().sqrt(), slopes.read()

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
        (near, slope), (far, _) = self._before, self._look(gradients=False)
        # Of a skipped step the distances are equal, and nothing is taken back.
        away = ((far - near) / far).clamp(0, 1)
        share = torch.where((slope > 0) & (far > near), self.value * away, 0.0)
        # On a CPU nobody is waited for, and most tensors are left in most steps.
        read = readable(share)
        factors: list[Any] = share.tolist() if read else list(share.unbind())
        for name, factor in zip(self._names, factors):
            if read and not factor:
                continue
            p, theta0 = self._params[name], self._anchor[name]
            now = p.detach().to(wide(p.dtype))  # no copy, for most types
            if not read:
                factor = factor.to(now.device, now.dtype)
            now.lerp_(theta0.to(now.dtype), factor)
            if now.dtype != p.dtype:
                p.copy_(now)
        return torch.stack([share, far])


def wide_gradient(parameter: nn.Parameter) -> torch.Tensor:
    """The gradient of a parameter that has one, dense, in float32 or wider."""
    gradient = parameter.grad
    assert gradient is not None
    gradient = gradient if gradient.layout == torch.strided else gradient.to_dense()
    return gradient.to(wide(gradient.dtype))
