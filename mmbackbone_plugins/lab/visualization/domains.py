"""Scores of methods on test domains as a map."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

import numpy as np

from .backend import plain, pyplot, save


def plot_domains(
    path: Union[str, Path],
    scores: np.ndarray,
    methods: Sequence[str],
    domains: Sequence[str],
    shades: Optional[np.ndarray] = None,
    shade_label: str = 'difference',
    inside: int = 0,
    title: str = '',
) -> None:
    """Draws a map: a row a method, a column a test set, the score written into each cell.

    Scores are of shape (methods, domains), NaN where there is none. Cells have the colours of
    ``shades`` (of the same shape, zero in the middle of the scale), by default of the scores, from
    low to high. A line parts the first ``inside`` columns, which are in domain, from the rest.

    Raises:
        ValueError: If there is no cell, or shapes do not fit.
    """
    scores = np.asarray(scores, float)
    if scores.shape != (len(methods), len(domains)) or not scores.size:
        raise ValueError(
            f'scores must have the shape (methods, domains) = ({len(methods)}, {len(domains)}), '
            f'none of them zero, got {scores.shape}'
        )
    plt = pyplot()
    width = 0.8 + 0.085 * max(map(len, methods)) + 0.47 * max(len(domains), 4)
    figure, axis = plt.subplots(figsize=(width, 1.5 + 0.29 * len(methods)), layout='constrained')
    values = scores if shades is None else np.asarray(shades, float)
    known = values[np.isfinite(values)]
    if shades is None:
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        high = high if high > low else low + 1
        colormap = plt.get_cmap('cividis')
    else:
        high = np.abs(known).max(initial=0) or 1.0  # no difference at all: any scale will do
        low, colormap = -high, plt.get_cmap('PuOr')  # safe for colour-blind readers
    colormap = colormap.with_extremes(bad='#eeeeee')
    masked = np.ma.masked_invalid(values)
    image = axis.imshow(masked, cmap=colormap, vmin=low, vmax=high, aspect='auto')
    for (row, column), score in np.ndenumerate(scores):
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 and np.isfinite(values[row, column])
        text, color = f'{score:.1f}', 'white' if dark else 'black'
        text = text if np.isfinite(score) else 'none'
        axis.text(column, row, text, ha='center', va='center', fontsize=9, color=color)
    turned = dict(rotation=40, ha='left', rotation_mode='anchor')
    axis.set_xticks(range(len(domains)), list(map(plain, domains)), **turned)
    axis.set_yticks(range(len(methods)), list(map(plain, methods)))
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if 0 < inside < len(domains):
        axis.axvline(inside - 0.5, color='black', lw=2)
    bar = figure.colorbar(image, ax=axis, location='bottom', aspect=40, fraction=0.05, pad=0.02)
    bar.set_label(plain(shade_label), fontsize=9)
    bar.outline.set_visible(False)
    figure.suptitle(plain(title), fontsize='medium')
    save(figure, path)
