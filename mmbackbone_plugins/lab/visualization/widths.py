"""A picture of a network's widths before and after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Union

from .axes import tidy
from .backend import COLORS, plain, pyplot, save


def plot_widths(
    path: Union[str, Path],
    before: Mapping[str, int],
    after: Mapping[str, int],
    dimensionalities: Mapping[str, int],
    title: str = '',
) -> None:
    """Draws widths before and after over depth, and what features spanned; ValueError if none."""
    if not before:
        raise ValueError('before must name at least one layer, got none')
    names = list(before)
    places = range(len(names))
    width = max(6.0, 1.6 + 0.24 * len(names))
    figure, axis = pyplot().subplots(figsize=(width, 4.4), layout='constrained')
    axis.bar(places, [before[n] for n in names], 0.86, color='0.85', label='width before')
    axis.bar(places, [after[n] for n in names], 0.46, color=COLORS[1], label='width after')
    spanned = [dimensionalities[n] or float('nan') for n in names]  # no bar of height zero in logs
    axis.plot(places, spanned, '_', color='black', ms=9, mew=1.8, label='dimensionality before')
    axis.set_yscale('log', base=2)
    smallest = min([*before.values(), *after.values(), *(s for s in spanned if s == s)])
    axis.set_ylim(bottom=smallest / 2)
    axis.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axis.set_xticks(list(places), names, rotation=90, fontsize='x-small')
    axis.set_xlim(-0.7, len(names) - 0.3)
    axis.set_ylabel('channels')
    tidy(axis)
    axis.grid(axis='x', visible=False)
    axis.set_axisbelow(True)
    figure.legend(loc='outside upper center', frameon=False, fontsize='small', ncols=3)
    axis.set_title(plain(title), fontsize='medium')
    save(figure, path)
