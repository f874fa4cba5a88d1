"""Widths and their uncertainty as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Callable

import numpy as np

from .widths import WidthPlan


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
    label = max(len(name) for name in baseline)
    lines = [
        f'{"layer":<{label}}{"width":>8}{"dimension":>11}{"(5..95%)":>14}{"new width":>11}'
        f'{"(5..95%)":>14}'
    ]
    for name, width in baseline.items():
        row = f'{name:<{label}}{width:>8,}{plan.dimensionalities[name]:>11,}'
        row += f'{interval(r.dimensionalities[name] for r in resamples):>14}'
        row += f'{plan.widths[name]:>11,}{interval(r.widths[name] for r in resamples):>14}'
        lines.append(row)
    return '\n'.join(lines)


def sensitivity_table(
    thresholds: Iterable[float],
    plans: Mapping[float, WidthPlan],
    parameters: Callable[[Mapping[str, int]], int],
) -> str:
    """What each threshold leads to.

    Args:
        thresholds: All that were tried.
        plans: From :func:`widths_by_threshold`.
        parameters: Number of parameters with given widths.
    """
    lines = [f'{"threshold":>10}{"dimensions":>12}{"alpha":>9}{"parameters":>15}{"MACs":>18}']
    for threshold in thresholds:
        plan = plans.get(threshold)
        if plan is None:
            lines.append(f'{threshold:>10.3g}{0:>12}   nothing is above it')
            continue
        row = f'{threshold:>10.3g}{sum(plan.dimensionalities.values()):>12,}{plan.alpha:>9.3f}'
        lines.append(f'{row}{parameters(plan.widths):>15,}{plan.macs:>18,}')
    return '\n'.join(lines)
