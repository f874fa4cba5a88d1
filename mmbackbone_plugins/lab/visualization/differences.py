"""Differences of methods to one of them, seed by seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional, Union

from .axes import tidy
from .backend import plain, pyplot, save


class Difference(NamedTuple):
    """One method: its difference by seed, their mean, and the ends of an interval or None."""

    name: str
    values: Sequence[float]
    mean: float
    low: Optional[float] = None
    high: Optional[float] = None


def plot_differences(
    path: Union[str, Path], rows: Sequence[Difference], xlabel: str = 'difference', title: str = ''
) -> None:
    """Draws a row a method, from the top: a ring a seed, a diamond at the mean, a bar the interval.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError('rows must hold at least one method, got none')
    size = (3.4 + 0.07 * max(len(row.name) for row in rows), 1.1 + 0.24 * len(rows))
    figure, axis = pyplot().subplots(figsize=size, layout='constrained')
    tidy(axis)
    axis.axvline(0, color='0.45', lw=0.9, ls=(0, (4, 3)), zorder=1)
    for place, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [place, place], color='#0072B2', lw=2.2, zorder=2)
        ring = dict(ls='', marker='o', ms=5, mfc='none', mec='0.35', mew=0.9, zorder=3)
        axis.plot(row.values, [place] * len(row.values), **ring)
        axis.plot(row.mean, place, 'D', color='#0072B2', ms=5.5, mec='white', mew=0.6, zorder=4)
    axis.set_yticks(range(len(rows)), [plain(row.name) for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis='y', length=0)
    axis.locator_params(axis='x', nbins=6)
    axis.spines['left'].set_visible(False)
    axis.set_xlabel(plain(xlabel))
    figure.suptitle(plain(title), fontsize='medium')
    save(figure, path)
