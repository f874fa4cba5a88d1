"""Importance of weights: how strongly each of them is held to where it was pre-trained.

It is the mean over batches of scores, into which a kind of importance turns a batch's gradient.

Source: "Mind the Backbone", arXiv 2303.14744, ``tools/utils.py`` of the authors' code. There every
process keeps the importance of its own data, so that their weights drift apart; here it is reduced.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Callable, Optional, Union

import torch
from torch import nn

from ..stages import StageMap
from ..utils.branches import only_labelled
from ..utils.checks import whole_number
from ..utils.names import nearest
from .norms import wide
from .passes import gradient_passes
from .rgn import kernel_ratio


class ImportanceKind:
    """What one kind of importance is; a subclass for each, see :func:`importance_kind`.

    Attributes:
        needs_data: Whether there is anything to estimate. If not, every weight counts the same.
        capped: Whether the strength ``coeff * importance`` is clipped at ``1 / lr``.
        single_images: Whether a score is that of one image's gradient instead of a batch's.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins.distortion.importance import ImportanceKind
        >>> class Size(ImportanceKind):
        ...     @staticmethod
        ...     def score(gradient, weight):
        ...         return weight.abs()
        >>> Size.score(torch.tensor([0.5]), torch.tensor([-3.0]))
        tensor([3.])
    """

    needs_data = True
    capped = True
    single_images = False

    @staticmethod
    def score(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Scores of a parameter from its gradient and itself, both in float32 or wider.

        A new tensor, not negative, that broadcasts to the shape of the parameter.
        """
        raise NotImplementedError


_KINDS: dict[str, type[ImportanceKind]] = {}


def importance_kind(name: str) -> Callable[[type[ImportanceKind]], type[ImportanceKind]]:
    """Registers a kind of importance under the name that configs use.

    Examples:
        >>> from mmbackbone_plugins.distortion.importance import ImportanceKind, importance_kind
        >>> @importance_kind('squared')
        ... class Squared(ImportanceKind):
        ...     @staticmethod
        ...     def score(gradient, weight):
        ...         return gradient**2
        >>> custom_hooks = [dict(type='DistortionRegularizerHook', importance='squared')]
    """

    def register(kind: type[ImportanceKind]) -> type[ImportanceKind]:
        _KINDS[name] = kind
        return kind

    return register


@importance_kind('uniform')
class Uniform(ImportanceKind):
    """All weights alike: the plain L2 distance to the starting point (L2-SP), never clipped."""

    needs_data = False
    capped = False


@importance_kind('rgn')
class RelativeGradient(ImportanceKind):
    """``|g| / |w|``, of a convolution one value per (out, in) kernel; see :func:`kernel_ratio`."""

    score = staticmethod(kernel_ratio)


@importance_kind('ewc')
class AbsoluteGradient(ImportanceKind):
    """``|g|`` of a batch: what the authors' code calls EWC. It is not the Fisher information."""

    @staticmethod
    def score(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return gradient.abs()


@importance_kind('fisher')
class EmpiricalFisher(ImportanceKind):
    """``g ** 2`` of one image: the diagonal of the empirical Fisher information, as in EWC's paper.

    Our addition. Labels are the annotated ones, not drawn from the model. A batch is taken apart,
    so that an image's pass sees only itself (and batch statistics of one image).
    """

    single_images = True

    @staticmethod
    def score(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return gradient * gradient


def find_kind(name: Any) -> type[ImportanceKind]:
    """The kind of importance of a name; a ValueError if there is none."""
    if isinstance(name, str) and name in _KINDS:
        return _KINDS[name]
    raise ValueError(
        f'importance must be one of {", ".join(map(repr, _KINDS))}, got {name!r}'
        f'{nearest(name, _KINDS)}'
    )


def estimate_importance(
    model: nn.Module,
    batches: Iterable[Any],
    kind: str,
    target: Union[str, Sequence[str]] = 'backbone',
    names: Optional[Collection[str]] = None,
    num_batches: Optional[int] = None,
    progress: Optional[Callable[[int], None]] = None,
    reduce: Optional[Callable[[torch.Tensor], Any]] = None,
) -> dict[str, torch.Tensor]:
    """Importance of every weight of the target, from gradients of the detection loss.

    One forward and backward pass a batch, in train mode, without a step and without a trace. Scores
    are taken and added up in float32, or in float64 for parameters of float64.

    Args:
        model: A detector without a distributed wrapper; see :func:`gradient_passes`.
        batches: Batches as a training loader yields them, of a loader made for this.
        kind: ``'rgn'``, ``'ewc'`` or ``'fisher'``.
        target: Dotted path of the module whose weights are wanted, or a list of paths.
        names: Names of the parameters that are wanted, whether they are frozen now or not. By
            default those of the target that require a gradient.
        num_batches: Number of batches to take; all by default.
        progress: Called with the number of batches done.
        reduce: Adds a tensor up over processes, in place; for a mean over the data of all.

    Returns:
        Importance by name, not negative, in float32 or wider: of the parameter's shape, for
        ``'rgn'`` and 4-dimensional weights ``(O, I, 1, 1)``. Dimensionless for ``'rgn'``, loss per
        weight for ``'ewc'``, that squared for ``'fisher'``.

    Raises:
        ValueError: If the kind has nothing to estimate, a name is not one of the target's, a
            parameter is complex, ``num_batches`` is not a positive whole number, there is no batch,
            or a gradient is NaN or Inf.

    Examples:
        >>> import torch
        >>> from mmengine.model import BaseModel
        >>> from mmbackbone_plugins import estimate_importance
        >>> class Detector(BaseModel):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.backbone = torch.nn.Linear(2, 1, bias=False)
        ...     def forward(self, inputs, mode='loss'):
        ...         return dict(loss=self.backbone(inputs).sum())
        >>> batches = [dict(inputs=torch.tensor([[1.0, 2.0]]))]
        >>> estimate_importance(Detector(), batches, 'ewc')
        {'backbone.weight': tensor([[1., 2.]])}
    """
    chosen = find_kind(kind)
    if not chosen.needs_data:
        raise ValueError(f'importance {kind!r} is the same for all weights: nothing to estimate')
    if num_batches is not None:
        whole_number('num_batches', num_batches, allowed='a positive whole number or None')
    parameters = _chosen_parameters(model, target, names)
    totals: dict[str, torch.Tensor] = {}
    passes = 0
    if chosen.single_images:
        batches, num_batches = _one_by_one(batches, num_batches), None
    for passes in gradient_passes(model, batches, num_batches, enable=parameters.values()):
        for name, parameter in parameters.items():
            if parameter.grad is None:  # not on the path to this batch's loss
                continue
            score = _score(chosen, parameter.grad, parameter)
            totals[name] = totals[name].add_(score) if name in totals else score
        if progress is not None:
            progress(passes)
    counts = torch.tensor(float(passes), dtype=torch.float64)
    found = {
        name: totals[name] if name in totals else _score(chosen, torch.zeros_like(p), p)
        for name, p in parameters.items()
    }
    if reduce is not None:
        device = next(iter(found.values())).device
        counts = counts.float().to(device)
        reduce(counts)
        for total in found.values():
            reduce(total)
    for name, total in found.items():
        total.div_(float(counts))
        if not bool(torch.isfinite(total).all()):
            raise ValueError(
                f'importance {kind!r} of {name!r} is NaN or Inf: a gradient of the {passes} passes '
                'over the training data was, or is too large for its score; check the data and the '
                'loaded weights'
            )
    return found


def _score(
    kind: type[ImportanceKind], gradient: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    dtype = wide(weight.dtype)
    return kind.score(gradient.to(dtype), weight.detach().to(dtype)).to(dtype)


def _chosen_parameters(
    model: nn.Module, target: Union[str, Sequence[str]], names: Optional[Collection[str]]
) -> Mapping[str, nn.Parameter]:
    named = dict(model.named_parameters())
    inside = StageMap.of(model, target).parameters
    if names is None:
        found = {n: named[n] for n in inside if named[n].requires_grad}
    else:
        strange = sorted(set(names) - set(inside))
        if strange:
            raise ValueError(f'{strange[0]!r} is not a parameter of target {target!r}')
        found = {n: named[n] for n in inside if n in names}
    if not found:
        raise ValueError(f'target {target!r} has no parameter that trains: nothing to estimate')
    for name, parameter in found.items():
        if parameter.is_complex():
            raise ValueError(f'{name!r} is complex: importance is that of real parameters')
    return found


def _one_by_one(batches: Iterable[Any], count: Optional[int]) -> Iterator[Any]:
    """Images of the first batches, each as a batch of its own."""
    for batch in map(only_labelled, islice(batches, count)):
        for index in range(_length(batch)):
            yield _take(batch, index)


def _length(batch: Any) -> int:
    while isinstance(batch, (Mapping, tuple)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return len(batch)


def _take(batch: Any, index: int) -> Any:
    """One image of a batch; mappings and tuples hold lists or tensors of one entry an image."""
    if isinstance(batch, Mapping):
        return {key: _take(value, index) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_take(value, index) for value in batch)
    return batch[index : index + 1]
