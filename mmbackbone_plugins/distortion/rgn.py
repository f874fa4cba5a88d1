"""Relative gradient norm (RGN): how hard the loss pulls a parameter, relative to its size."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Optional, Union

import torch
from torch import nn

from ..utils.checks import choice
from .norms import l2_norms, wide

GRANULARITIES = ('tensor', 'kernel')

NamedParameters = Union[Mapping[str, nn.Parameter], Iterable[tuple[str, nn.Parameter]]]


def relative_gradient_norm(
    named_parameters: NamedParameters, granularity: str = 'tensor', eps: float = 1e-8
) -> dict[str, float]:
    """Relative gradient norm of every parameter that has a gradient.

    - ``'tensor'``: ``||g||_2 / (||w||_2 + eps)``, one ratio per tensor.
    - ``'kernel'``: the mean of ``|g| / (|w| + eps)`` over a tensor's entries; of a 4-dimensional
      weight ``(O, I, kh, kw)`` both are first summed over ``kh, kw``, so that there is one ratio
      per ``(O, I)``.

    Gradients must be those of the loss: unscaled, averaged over ranks, not clipped. Norms and
    ratios are taken in float64: no gradient is too large or too small. Waits for the device once.

    Args:
        named_parameters: Names and parameters, as ``model.named_parameters()`` yields them, or a
            mapping. Those whose ``.grad`` is None are left out: frozen is not zero. So are those
            without entries.
        granularity: ``'tensor'`` or ``'kernel'``.
        eps: Added to every denominator, at least 0.

    Returns:
        RGN by name, dimensionless. A gradient with a NaN or Inf gives NaN or Inf.

    Raises:
        ValueError: If ``granularity`` is neither of these, ``eps`` not a number of at least 0, or
            parameters come without names.

    Source:
        "Mind the Backbone", arXiv 2303.14744: ``'tensor'`` is its text, ``'kernel'`` its code
        (``tools/compute_rgn.py``). The two differ by a factor that depends on the spread of the
        weights: compare numbers of one kind only. That ``'tensor'`` has an eps is our reading.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import relative_gradient_norm
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> weight.grad = torch.tensor([0.0, 1.0])
        >>> relative_gradient_norm({'weight': weight}, eps=0)
        {'weight': 0.2}
    """
    return measure(named_parameters, granularity, eps).read().values


@dataclass(frozen=True)
class Measurement:
    """RGN of parameters at one step, by name."""

    values: dict[str, float]
    rms: dict[str, float]  # root mean square of the parameter's entries
    numels: dict[str, int]  # number of its entries


@dataclass(frozen=True)
class Deferred:
    """A measurement whose numbers are still on the device."""

    names: tuple[str, ...]  # parameters that have a gradient
    numels: tuple[int, ...]  # numbers of their entries
    numbers: torch.Tensor  # (2, len(names)): RGN, and L2 norms of the parameters

    def read(self) -> Measurement:
        """Waits for the device and returns the numbers."""
        return read([self])[0]


def read(
    parts: Sequence[Deferred], extra: Sequence[torch.Tensor] = ()
) -> tuple[Measurement, list[float]]:
    """Brings measurements of one step as one, and ``extra`` scalars, from the device at one go."""
    found = Measurement({}, {}, {})
    tensors = [part.numbers.flatten() for part in parts] + [e.detach().reshape(1) for e in extra]
    if not tensors:
        return found, []
    tensors = [t.to(tensors[0].device, torch.float64) for t in tensors]
    numbers = iter(torch.cat(tensors).tolist())  # the one point where the device is waited for
    for part in parts:
        found.values.update((name, next(numbers)) for name in part.names)
        sizes = dict(zip(part.names, part.numels))
        found.rms.update((name, next(numbers) / max(n, 1) ** 0.5) for name, n in sizes.items())
        found.numels.update(sizes)
    return found, list(numbers)


@torch.no_grad()
def measure(
    named_parameters: NamedParameters,
    granularity: str = 'tensor',
    eps: float = 1e-8,
    scale: Optional[torch.Tensor] = None,
) -> Deferred:
    """Starts a measurement without waiting; ``scale`` is a loss scale that gradients carry."""
    choice('granularity', granularity, GRANULARITIES)
    if not isinstance(eps, Real) or not 0 <= eps < math.inf:
        raise ValueError(f'eps must be a finite number of at least 0, got {eps!r}')
    pairs = named_parameters.items() if isinstance(named_parameters, Mapping) else named_parameters
    pairs = list(pairs)
    if any(isinstance(pair, torch.Tensor) for pair in pairs):
        raise ValueError('named_parameters must be pairs of a name and a parameter, not parameters')
    held = {name: p for name, p in pairs if p.grad is not None and p.numel()}
    names, weights = tuple(held), list(held.values())
    numels = tuple(p.numel() for p in weights)
    if not held:
        return Deferred(names, numels, torch.zeros(2, 0))
    device = weights[0].device
    grads = [p.grad for p in weights if p.grad is not None]
    gradients = [g if g.layout == torch.strided else g.to_dense() for g in grads]
    if granularity == 'tensor':
        norms = _stack(l2_norms([*gradients, *weights]), device).view(2, -1)
        ratios, norms = norms[0] / (norms[1] + eps), norms[1]
    else:
        norms = _stack(l2_norms(weights), device)
        means = [kernel_ratio(g, w, eps).mean() for g, w in zip(gradients, weights)]
        ratios = _stack(means, device)
    if scale is not None:
        ratios = ratios / scale.to(device)
    return Deferred(names, numels, torch.stack([ratios, norms]))


def _stack(scalars: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    return torch.stack([s.to(device) for s in scalars])


@torch.no_grad()
def kernel_ratio(gradient: torch.Tensor, weight: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """The authors' ratio (``tools/compute_rgn.py``), entry by entry: ``|g| / (|w| + eps)``.

    In float64 and of the weight's shape. Of a 4-dimensional weight ``(O, I, kh, kw)`` both are
    summed over the window first: ``(O, I, 1, 1)``.
    """
    pulled, size = (t.detach().abs() for t in (gradient, weight))
    pulled, size = (t.to(wide(t.dtype)) for t in (pulled, size))
    if weight.dim() == 4 and weight.shape[2:] != (1, 1):
        # Not an L1 norm over the window: that needs no copy, but 17 times the time on a CPU.
        pulled, size = pulled.flatten(2).sum(2), size.flatten(2).sum(2)
        pulled, size = pulled[..., None, None], size[..., None, None]
    return pulled.double() / (size.double() + eps)


def average(measurements: Iterable[Measurement]) -> Measurement:
    """Mean over batches of every tensor's RGN: a mean of ratios, not a ratio of means.

    A tensor without a gradient in some batches is averaged over the others: our reading, the
    authors' code counts zeros. One NaN or Inf makes its tensor's mean NaN or Inf.
    """
    found = list(measurements)
    if not found:
        raise ValueError('no batch was measured: the loader is empty')
    mean = Measurement({}, {}, {})
    for measurement in found:  # the last that has a tensor says how large it is
        mean.rms.update(measurement.rms)
        mean.numels.update(measurement.numels)
    for name in mean.numels:
        seen = [m.values[name] for m in found if name in m.values]
        mean.values[name] = sum(seen) / len(seen)
    return mean
