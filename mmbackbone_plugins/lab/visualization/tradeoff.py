"""Methods as points: score against cost with the Pareto front, and gain against RGN."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from .axes import tidy
from .backend import plain, pyplot, save
from .methods import MethodStyle

SIZE = (4.6, 4.4)  # inches: its text is still read when it is scaled to the width of a phone


class Point(NamedTuple):
    """One method in the plane, with the ends of its bars along y and x; None for no bar."""

    name: str
    x: float
    y: float
    low: Optional[float] = None
    high: Optional[float] = None
    left: Optional[float] = None
    right: Optional[float] = None


def plot_pareto(
    path: Union[str, Path],
    points: Sequence[Point],
    front: Sequence[str],
    styles: Mapping[str, MethodStyle],
    xlabel: str = 'training FLOPs',
    ylabel: str = 'mAP',
    title: str = '',
) -> None:
    """Draws score against cost, with the front: the best mean that a cost up to here has bought.

    Raises:
        ValueError: If there is no point.
    """
    axis = _draw(points, styles, xlabel, ylabel, f'{title}\ndashed: Pareto front'.strip())
    by_name = {point.name: point for point in points}
    steps = [(by_name[name].x, by_name[name].y) for name in front]
    if steps:
        right = axis.get_xlim()[1]
        xs, ys = zip(*steps, (right, steps[-1][1]))
        axis.step(xs, ys, where='post', color='0.45', lw=1.2, ls=(0, (4, 2)), zorder=1)
    save(axis.figure, path)


def plot_gain(
    path: Union[str, Path],
    points: Sequence[Point],
    styles: Mapping[str, MethodStyle],
    xlabel: str = 'relative gradient norm',
    ylabel: str = 'OOD gain',
    title: str = '',
) -> None:
    """Draws gain against another quantity, with the line of no gain; ValueError without a point."""
    axis = _draw(points, styles, xlabel, ylabel, title, zero=True)
    save(axis.figure, path)


def _draw(
    points: Sequence[Point],
    styles: Mapping[str, MethodStyle],
    xlabel: str,
    ylabel: str,
    title: str,
    zero: bool = False,
) -> Any:
    """Markers and bars, and below the axis the names; logarithmic if they span over a decade."""
    if not points:
        raise ValueError('points must hold at least one method, got none')
    figure, axis = pyplot().subplots(figsize=SIZE, layout='constrained')
    tidy(axis)
    axis.set_title(plain(title), fontsize='medium' if '\n' not in title else 'small')
    if zero:
        axis.axhline(0, color='0.45', lw=0.9, ls=(0, (4, 3)), zorder=1)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    for name, x, y, low, high, left, right in points:
        color, marker, _ = styles[name]
        for ends in ([(x, low), (x, high)], [(left, y), (right, y)]):
            if None not in ends[0] + ends[1]:
                axis.plot(*zip(*ends), color=color, lw=1.3, alpha=0.75, zorder=2)
        size = 10 if marker in 'PX*' else 8  # these have less area
        look = dict(color=color, ms=size, mec='white', mew=0.7, zorder=3)
        axis.plot(x, y, marker, label=plain(name), **look)
    figure.legend(loc='outside lower center', ncols=3, fontsize='small', handletextpad=0.2)
    xs = [point.x for point in points]
    if min(xs) > 0 and max(xs) > 10 * min(xs):
        from matplotlib import ticker

        # Few ticks with a number: matplotlib's own run into each other on one decade.
        subs = (1, 2, 5) if max(xs) < 300 * min(xs) else (1,)
        axis.set_xscale('log', subs=[])
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
    axis.margins(x=0.08, y=0.1)
    return axis
