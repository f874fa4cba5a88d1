"""Widths and their uncertainty as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Callable

import numpy as np

from ..spectra import WidthPlan
from ..utils.text import table


def interval(values: Iterable[int]) -> str:
    """From the fifth to the ninety-fifth percentile of resamples; a dash without any."""
    values = list(values)
    if not values:
        return '-'
    low, high = np.percentile(values, [5, 95], method='nearest')
    return f'{low:,}..{high:,}'


def width_table(
    baseline: Mapping[str, int], plan: WidthPlan, resamples: Sequence[WidthPlan] = ()
) -> str:
    """Width, dimensionality and new width of each layer, with intervals over resamples."""
    spread = '(5..95%)'
    rows = [('layer', 'width', 'dimension', spread, 'new width', spread)]
    for name, width in baseline.items():
        dimensions = interval(r.dimensionalities[name] for r in resamples)
        widths = interval(r.widths[name] for r in resamples)
        now = f'{width:,}', f'{plan.dimensionalities[name]:,}'
        rows.append((name, *now, dimensions, f'{plan.widths[name]:,}', widths))
    return table(rows)


def sensitivity_table(
    thresholds: Iterable[float],
    plans: Mapping[float, WidthPlan],
    parameters: Callable[[Mapping[str, int]], int],
) -> str:
    """What each threshold that was tried leads to; ``parameters`` is their number by widths."""
    rows = [('threshold', 'dimensions', 'alpha', 'parameters', 'MACs')]
    for threshold in thresholds:
        if (plan := plans.get(threshold)) is None:
            rows.append((f'{threshold:.3g}', '0', 'nothing is above it', '', ''))
            continue
        dimensions, alpha = sum(plan.dimensionalities.values()), f'{plan.alpha:.3f}'
        numbers = f'{dimensions:,}', alpha, f'{parameters(plan.widths):,}', f'{plan.macs:,}'
        rows.append((f'{threshold:.3g}', *numbers))
    return table(rows, '>>>>>')
