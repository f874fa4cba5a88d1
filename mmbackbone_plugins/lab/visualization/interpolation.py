"""A picture of the line between two checkpoints: accuracy out of the domain against in it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

from .axes import tidy
from .backend import COLORS, plain, pyplot, save

_ORDER = (5, 4, 6, 3, 0, 1, 2)  # dark ones first


def plot_interpolation(
    path: Union[str, Path],
    inside: Mapping[float, float],
    outside: Mapping[str, Mapping[float, float]],
    chosen: Optional[float] = None,
    score: str = 'mAP',
    title: str = '',
) -> None:
    """Draws a curve for each test set out of the domain, with both ends and the choice marked.

    Scores are in 0 .. 1, by weight; those out of the domain by test set, then by weight.

    Raises:
        ValueError: If no test set has two places with scores on both axes.
    """
    known = {w for w, value in inside.items() if math.isfinite(value)}
    curves = {
        n: [w for w in sorted(known & {*row}) if math.isfinite(row[w])]
        for n, row in outside.items()
    }
    curves = {name: places for name, places in curves.items() if len(places) > 1}
    if not curves:
        raise ValueError('outside must have a test set with scores at two weights or more')
    figure, axis = pyplot().subplots(figsize=(4.8, 4.6), layout='constrained')
    tidy(axis)
    for number, (name, places) in enumerate(curves.items()):
        color, row = COLORS[_ORDER[number % len(_ORDER)]], outside[name]
        points = {w: (100 * inside[w], 100 * row[w]) for w in places}
        axis.plot(*zip(*points.values()), '.-', color=color, lw=1.3, ms=5, label=plain(name))
        for place, marker, size in ((0.0, 's', 7), (1.0, 'o', 7), (chosen, '*', 13)):
            if place in points:
                look = dict(color=color, ms=size, mec='black', mew=0.8, zorder=3)
                axis.plot(*points[place], marker, **look)
    axis.set(xlabel=f'{score} x 100 in the domain', ylabel=f'{score} x 100 out of it')
    text = 'square: start (0), circle: end (1)'
    text += '' if chosen is None else f', star: chosen ({chosen:g})'
    axis.set_title(plain(f'{title}\n{text}' if title else text), fontsize='small')
    axis.margins(0.1)
    figure.legend(loc='outside lower center', ncols=3, fontsize='small')
    save(figure, path)
