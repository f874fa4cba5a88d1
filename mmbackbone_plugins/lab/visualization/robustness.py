"""A picture of what corruptions cost a detector."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Union

import numpy as np

from .axes import top_of
from .backend import COLORS, plain, pyplot, save


def plot_robustness(
    path: Union[str, Path],
    clean: float,
    scores: Mapping[str, Mapping[int, float]],
    groups: Mapping[str, Sequence[str]],
    test_sets: Mapping[str, float] = {},  # noqa: B006
    score: str = 'mAP',
    title: str = '',
) -> None:
    """Draws a heat map of scores, and bars of each corruption's mean beside the clean score.

    Scores are in 0 .. 1, by corruption and severity; a cell that is missing stays empty. Rows are
    in the order of ``groups``, others come last; ``test_sets`` get bars of their own.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not scores and not test_sets:
        raise ValueError('scores must have a corruption, or test_sets a set; got neither')
    ordered = [name for names in groups.values() for name in names if name in scores]
    ordered += [name for name in scores if name not in ordered]
    severities = sorted({s for row in scores.values() for s in row})
    values = np.array([[scores[c].get(s, math.nan) for s in severities] for c in ordered])
    values = 100 * values.reshape(len(ordered), len(severities))
    height = 1.9 + 0.3 * (len(ordered) + len(test_sets))
    ratios = [1.15, 1] if ordered else [1]
    size = (9.2 if ordered else 5, height)
    figure, axes = pyplot().subplots(
        1, len(ratios), figsize=size, layout='constrained', width_ratios=ratios, squeeze=False
    )
    right = axes[0, -1]
    if ordered:
        _heat_map(axes[0, 0], values, ordered, severities, clean)
        borders = np.cumsum([sum(c in scores for c in names) for names in groups.values()])
        for border in borders[(borders > 0) & (borders < len(ordered))]:
            axes[0, 0].axhline(border - 0.5, color='white', lw=2.5)
    means = {name: float(row.mean()) for name, row in zip(ordered, values)}
    _bars(right, means, {name: 100 * value for name, value in test_sets.items()}, 100 * clean)
    right.set_xlabel(f'{score} x 100')
    whole = np.array(list(means.values()))
    text = f'clean {100 * clean:.1f}'
    if len(whole) and np.isfinite(whole).all():
        text += f', mean under corruption {whole.mean():.1f}'
        text += f' ({whole.mean() / clean:.0f} % of clean)' if clean else ''
    figure.suptitle(plain(f'{title}\n{text}' if title else text), fontsize='medium')
    save(figure, path)


def _heat_map(axis, values, rows, columns, clean) -> None:
    top = max([100 * clean, *values[np.isfinite(values)]]) or 1.0
    # Light is good and dark is bad; ordered in grey print too.
    axis.imshow(values, cmap='cividis', vmin=0, vmax=top, aspect='auto')
    for i, j in np.ndindex(*values.shape):
        value = values[i, j]
        color = 'black' if value > 0.55 * top else 'white'
        if math.isfinite(value):
            axis.text(j, i, f'{value:.1f}', ha='center', va='center', color=color, fontsize=8)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), [name.replace('_', ' ') for name in rows])
    axis.set_xlabel('severity')
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _bars(axis, means, test_sets, clean) -> None:
    names = [*means, *test_sets]
    places = np.arange(len(names))
    colors = [COLORS[1]] * len(means) + [COLORS[0]] * len(test_sets)
    values = [*means.values(), *test_sets.values()]
    axis.barh(places, np.nan_to_num(values), 0.7, color=colors)
    for place, value in zip(places, values):
        shown = f' {value:.1f}' if math.isfinite(value) else ' -'
        axis.text(max(np.nan_to_num(value), 0), place, shown, va='center', fontsize=8)
    axis.axvline(clean, color='black', lw=1, ls='--')
    axis.text(clean, -0.55, 'clean', ha='center', va='bottom', fontsize=8)
    axis.set_yticks(places, [name.replace('_', ' ') for name in names])
    axis.tick_params(axis='y', length=0)
    if not test_sets:
        axis.set_yticklabels([])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(0, 1.06 * top_of([clean, *values]))
    axis.spines[['top', 'right', 'left']].set_visible(False)
