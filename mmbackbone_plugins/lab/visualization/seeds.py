"""Training curves of one method: all its seeds over each other, frozen epochs shaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

from .axes import shade_frozen, tidy
from .backend import COLORS, plain, pyplot, save
from .logs import RunLog, spans_of_frozen

_SEED_LINES = ('-', '--', ':', '-.')


def plot_seeds(
    path: Union[str, Path],
    runs: Mapping[str, RunLog],
    title: str = '',
    color: str = COLORS[5],
    top_loss: Optional[float] = None,
    top_score: Optional[float] = None,
) -> None:
    """Draws training loss and validation mAP over epochs, a line per run.

    Runs are of one method; frozen epochs are those of the first. ``top_loss`` and ``top_score`` are
    the upper ends of the axes, so that figures of several methods compare.

    Raises:
        ValueError: If no run has logged anything.
    """
    if not any(run.train or run.val for run in runs.values()):
        raise ValueError(f'nothing to draw: {list(runs)} have logged no scalars')
    figure, (upper, lower) = pyplot().subplots(
        2, 1, sharex=True, figsize=(4.2, 3.9), layout='constrained'
    )
    for i, (label, run) in enumerate(runs.items()):
        style = _SEED_LINES[i % len(_SEED_LINES)]
        look = dict(color=color, lw=1.4, alpha=0.9, label=plain(label))
        length = run.per_epoch
        losses = [(row['iter'] / length, row['loss']) for row in run.train]
        if losses:
            upper.plot(*zip(*losses), style, **look)
        scores = [(row['step'], row[run.metric]) for row in run.val if run.metric in row]
        if scores:
            lower.plot(*zip(*scores), style, marker='.', ms=5, **look)
    first = next(run for run in runs.values() if run.train or run.val)
    for axis in (upper, lower):
        shade_frozen(axis, spans_of_frozen(first), 'backbone frozen')
        tidy(axis)
    upper.set(ylabel='training loss', ylim=(0, top_loss))
    lower.set(ylabel='validation mAP', ylim=(0, top_score), xlim=(0, None))
    lower.set_xlabel('epochs trained' if first.per_epoch > 1 else 'iterations')
    lower.xaxis.get_major_locator().set_params(integer=True)
    upper.legend(loc='best', fontsize=8, facecolor='white', framealpha=0.9, edgecolor='0.8')
    figure.suptitle(plain(title), fontsize='medium')
    save(figure, path)
