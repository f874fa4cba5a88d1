"""Widths of a network from the dimensionalities of its feature maps, under a budget."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ..utils.checks import is_number, whole_number
from .spectrum import Values, intrinsic_dimensionality

Widths = dict[str, int]

_DOUBLINGS = 64
_HALVINGS = 60  # the interval then is below the resolution of a float


@dataclass(frozen=True)
class WidthPlan:
    """Widths that fit a budget."""

    dimensionalities: dict[str, int]  # by layer
    widths: Widths  # number of channels, by layer
    alpha: float  # channels for each dimension, the factor that all layers share
    macs: int  # what the widths cost
    budget: int  # what they may cost at most


def widths_at(alpha: float, dimensionalities: Mapping[str, int], multiple: int = 8) -> Widths:
    """Widths ``alpha * dimensionality``, rounded to a multiple, halves up, and at least one."""
    return {
        name: multiple * max(1, int(alpha * dimension / multiple + 0.5))
        for name, dimension in dimensionalities.items()
    }


def determine_widths(
    dimensionalities: Mapping[str, int],
    baseline_widths: Mapping[str, int],
    macs: Callable[[Widths], int],
    budget: Optional[int] = None,
    multiple: int = 8,
) -> WidthPlan:
    """Widths ``round_to_multiple(alpha * dimensionality)`` with the largest alpha in a budget.

    A layer whose features span few of its channels becomes narrower, one that uses all of them
    wider, and the whole costs no more than before. Pure and deterministic: a larger budget never
    makes any layer narrower.

    Args:
        dimensionalities: Intrinsic dimensionality of each layer's feature map.
        baseline_widths: Number of channels of the same layers now.
        macs: Multiply-adds of the network with given widths; must not fall when a width grows.
        budget: Multiply-adds that are allowed; by default those of the baseline.
        multiple: What every width is a multiple of, and the smallest width.

    Returns:
        The plan; ``plan.macs <= plan.budget``.

    Raises:
        ValueError: If the layers differ, a dimensionality is negative or above its layer's width,
            all of them are zero, ``multiple`` is not a positive integer, the budget is no finite
            number or below the cost of the smallest widths (which the message names), or ``macs``
            yields no such number or does not grow.

    Source:
        Our reading of arXiv 1909.04021, whose rule we could not find: its abstract says that widths
        follow from the eigenspectrum, with fewer parameters and no more multiply-adds.

    Examples:
        >>> from mmbackbone_plugins import determine_widths
        >>> plan = determine_widths(
        ...     {'stage1': 8, 'stage2': 32},
        ...     {'stage1': 64, 'stage2': 64},
        ...     macs=lambda widths: widths['stage1'] * widths['stage2'],
        ... )
        >>> plan.widths, plan.macs, plan.budget
        ({'stage1': 32, 'stage2': 128}, 4096, 4096)
    """
    _check(dimensionalities, baseline_widths, multiple)
    known: dict[tuple[int, ...], int] = {}

    def cost(widths: Widths) -> int:
        key = tuple(widths.values())
        if key not in known:
            known[key] = _finite(macs(dict(widths)), 'macs')
        return known[key]

    if budget is None:
        budget = macs(dict(baseline_widths))

    def fits(alpha: float) -> bool:
        return cost(widths_at(alpha, dimensionalities, multiple)) <= budget

    check_budget(dimensionalities, cost, budget, multiple)
    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if not fits(high):
            break
        low, high = high, 2 * high
    else:
        raise ValueError('macs must grow with the widths; it stayed in the budget for any width')
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    widths = widths_at(low, dimensionalities, multiple)
    return WidthPlan(dict(dimensionalities), widths, low, cost(widths), budget)


def check_budget(
    layers: Iterable[str], macs: Callable[[Widths], int], budget: int, multiple: int = 8
) -> None:
    """Refuses a budget that no widths fit, which takes one count; the message has the least."""
    _finite(budget, 'budget')
    least = macs(dict.fromkeys(layers, multiple))
    if not least <= budget:
        raise ValueError(
            f'budget of {budget:,} MACs is impossible: with every width at its smallest, '
            f'{multiple}, the network still needs {least:,} MACs'
        )


def _finite(number: Any, what: str) -> Any:
    if not is_number(number, 0):
        raise ValueError(f'{what} must be a finite number of MACs, at least 0, got {number!r}')
    return number


def widths_by_threshold(
    spectra: Mapping[str, Values],
    thresholds: Iterable[float],
    baseline_widths: Mapping[str, int],
    macs: Callable[[Widths], int],
    budget: Optional[int] = None,
    multiple: int = 8,
    relative: bool = False,
) -> dict[float, WidthPlan]:
    """How much the widths depend on where the line between signal and nothing is drawn.

    As :func:`determine_widths` for the dimensionalities that ``spectra``, eigenvalues by layer,
    have above each threshold. One above all eigenvalues of all layers has no plan.
    """
    plans = {}
    for threshold in thresholds:
        dimensionalities = {
            name: intrinsic_dimensionality(values, threshold, relative)
            for name, values in spectra.items()
        }
        if any(dimensionalities.values()):
            plans[threshold] = determine_widths(
                dimensionalities, baseline_widths, macs, budget, multiple
            )
    return plans


def _check(dimensionalities: Mapping[str, int], baseline: Mapping[str, int], multiple: Any) -> None:
    whole_number('multiple', multiple)
    differ = sorted(set(dimensionalities) ^ set(baseline))
    if differ or not dimensionalities:
        raise ValueError(
            'dimensionalities and baseline_widths must have the same layers, at least one; '
            f'only one of them has {differ}'
        )
    for name, dimension in dimensionalities.items():
        if not 0 <= dimension <= baseline[name]:
            raise ValueError(
                f'dimensionality of {name!r} must be from 0 to its width {baseline[name]}, '
                f'got {dimension}'
            )
    if not any(dimensionalities.values()):
        raise ValueError(
            'every dimensionality is 0, so there is nothing to derive widths from: the threshold '
            'is above all eigenvalues'
        )
