"""Training curves with the epochs shaded in which a part of the model was frozen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from .axes import shade_frozen, tidy
from .backend import plain, pyplot, save
from .logs import frozen_spans, trainable_by_epoch
from .methods import style_of


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
        path: Picture file to write.
        train_rows: See :func:`read_scalars`.
        val_rows: See :func:`read_scalars`.
        metric: Key of the metric.
        losses: Keys of the losses; absent ones are left out.
        title: Title of the figure.
        trainable: Trainable stages by epoch; read from the rows by default.

    Raises:
        ValueError: If there is no training row.
    """
    if not train_rows:
        raise ValueError('train_rows must hold at least one row with a loss, got none')
    spans = frozen_spans(trainable_by_epoch(train_rows) if trainable is None else trainable)
    last = max(int(row['epoch']) for row in train_rows)
    in_last = [row['iter'] for row in train_rows if int(row['epoch']) == last]
    # Rows carry the running iteration: the epoch's length follows from where the run ended.
    per_epoch = max(in_last) / last
    figure, (upper, lower) = pyplot().subplots(
        2, 1, sharex=True, figsize=(7.2, 5.6), layout='constrained'
    )
    for i, (key, line) in enumerate(zip(losses, ('-', '--', ':'))):
        points = [(row['iter'] / per_epoch, row[key]) for row in train_rows if key in row]
        if points:
            look = dict(color=style_of(i).color, lw=1.8, label=key.replace('_', ' '))
            upper.plot(*zip(*points), line, **look)
    upper.set_ylabel('training loss')
    upper.set_ylim(bottom=0)
    points = [(row['step'], row[metric]) for row in val_rows if metric in row]
    if points:
        epochs, values = zip(*points)
        look = dict(color=style_of(len(losses)).color, lw=1.8, ms=5, label='validation')
        lower.plot(epochs, values, 'o-', **look)
        best = max(range(len(values)), key=values.__getitem__)
        place = (epochs[best], values[best])
        lower.annotate(
            f'{values[best]:.3f}', place, (-4, 7), textcoords='offset points', ha='right'
        )
    lower.set_ylabel(f'{metric.split("/")[-1]} (IoU 0.5)' if metric == 'dota/mAP' else metric)
    lower.set_ylim(0, 1.08)
    lower.set_xlabel('epochs trained')
    lower.set_xlim(0, last)
    lower.set_xticks(range(0, last + 1, max(1, last // 12)))
    for axis in (upper, lower):
        shade_frozen(axis, spans, 'backbone frozen')
        tidy(axis)
    # A white ground, or the grey patch of the legend would vanish in a grey epoch.
    for axis, columns, place in ((upper, 2, 'upper right'), (lower, 1, 'lower right')):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc=place, ncols=columns, facecolor='white', framealpha=1, edgecolor='0.7')
    figure.suptitle(plain(title))
    save(figure, path)
