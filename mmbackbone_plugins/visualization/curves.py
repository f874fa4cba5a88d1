"""Training curves with the epochs shaded in which a part of the model was frozen."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from .backend import COLORS, pyplot

TRAINABLE_STAGES = 'freezing/trainable_stages'


def read_scalars(path: Union[str, Path]) -> tuple[list[dict], list[dict]]:
    """Reads the scalars that mmengine's LocalVisBackend wrote.

    Args:
        path (str | Path): ``vis_data/scalars.json`` of a run, one JSON object a line.

    Returns:
        tuple[list[dict], list[dict]]: Rows of training (they have an 'epoch' and a 'loss') and of
        validation (their 'step' is the number of epochs trained so far).
    """
    rows = [json.loads(line) for line in Path(path).read_text(encoding='utf-8').splitlines()]
    return [row for row in rows if 'loss' in row], [row for row in rows if 'loss' not in row]


def trainable_by_epoch(train_rows: Iterable[Mapping]) -> dict[int, int]:
    """Returns the number of trainable stages by epoch, from 1, as FreezingSchedulerHook logs it.

    Epochs without that scalar are left out.
    """
    return {
        int(row['epoch']): int(row[TRAINABLE_STAGES])
        for row in train_rows
        if TRAINABLE_STAGES in row
    }


def frozen_spans(trainable: Mapping[int, int]) -> list[tuple[int, int]]:
    """Joins neighbouring epochs without trainable stages.

    Args:
        trainable (Mapping[int, int]): Trainable stages by epoch, from 1.

    Returns:
        list[tuple[int, int]]: First and last epoch of each frozen span.
    """
    spans: list[tuple[int, int]] = []
    for epoch in sorted(epoch for epoch, stages in trainable.items() if stages == 0):
        if spans and spans[-1][1] == epoch - 1:
            spans[-1] = (spans[-1][0], epoch)
        else:
            spans.append((epoch, epoch))
    return spans


def shade_frozen(axis: Any, spans: Sequence[tuple[int, int]], label: str) -> None:
    """Shades spans of epochs; epoch ``n`` runs from ``n - 1`` to ``n`` on the axis."""
    for i, (first, last) in enumerate(spans):
        axis.axvspan(first - 1, last, color='0.88', lw=0, zorder=0, label=None if i else label)


def plot_training(
    path: Union[str, Path],
    train_rows: Sequence[Mapping],
    val_rows: Sequence[Mapping],
    metric: str = 'dota/mAP',
    losses: Sequence[str] = ('loss', 'loss_cls', 'loss_bbox'),
    title: str = '',
    trainable: Optional[Mapping[int, int]] = None,
) -> None:
    """Draws losses and a validation metric over epochs; frozen epochs are grey.

    Args:
        path (str | Path): Picture file to write.
        train_rows (Sequence[Mapping]): See :func:`read_scalars`.
        val_rows (Sequence[Mapping]): See :func:`read_scalars`.
        metric (str): Key of the metric. Defaults to 'dota/mAP'.
        losses (Sequence[str]): Keys of the losses; absent ones are left out.
        title (str): Title of the figure. Defaults to ''.
        trainable (Mapping[int, int]): Trainable stages by epoch; read from the rows by default.

    Raises:
        ValueError: If there is no training row.
        ImportError: If matplotlib is not installed.
    """
    if not train_rows:
        raise ValueError('train_rows must hold at least one row with a loss, got none')
    plt = pyplot()
    spans = frozen_spans(trainable_by_epoch(train_rows) if trainable is None else trainable)
    last = max(int(row['epoch']) for row in train_rows)
    in_last = [row['iter'] for row in train_rows if int(row['epoch']) == last]
    # Rows carry the running iteration: the epoch's length follows from where the run ended.
    per_epoch = max(in_last) / last
    figure, (upper, lower) = plt.subplots(
        2, 1, sharex=True, figsize=(7.2, 5.6), layout='constrained'
    )
    for key, color, style in zip(losses, (COLORS[5], COLORS[0], COLORS[3]), ('-', '--', ':')):
        points = [(row['iter'] / per_epoch, row[key]) for row in train_rows if key in row]
        if points:
            upper.plot(*zip(*points), style, color=color, lw=1.8, label=key.replace('_', ' '))
    upper.set_ylabel('training loss')
    upper.set_ylim(bottom=0)
    points = [(row['step'], row[metric]) for row in val_rows if metric in row]
    if points:
        epochs, values = zip(*points)
        lower.plot(epochs, values, 'o-', color=COLORS[4], lw=1.8, ms=5, label='validation')
        best = max(range(len(values)), key=values.__getitem__)
        lower.annotate(
            f'{values[best]:.3f}',
            (epochs[best], values[best]),
            xytext=(-4, 7),
            textcoords='offset points',
            ha='right',
        )
    lower.set_ylabel(f'{metric.split("/")[-1]} (IoU 0.5)' if metric == 'dota/mAP' else metric)
    lower.set_ylim(0, 1.08)
    lower.set_xlabel('epochs trained')
    lower.set_xlim(0, last)
    lower.set_xticks(range(0, last + 1, max(1, last // 12)))
    for axis in (upper, lower):
        shade_frozen(axis, spans, 'backbone frozen')
        axis.grid(alpha=0.35, lw=0.6)
        axis.spines[['top', 'right']].set_visible(False)
    # A white ground, or the grey patch of the legend would vanish in a grey epoch.
    for axis, columns, place in ((upper, 2, 'upper right'), (lower, 1, 'lower right')):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc=place, ncols=columns, facecolor='white', framealpha=1, edgecolor='0.7')
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)
