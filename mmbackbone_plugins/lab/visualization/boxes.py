"""Pictures of oriented boxes: what was labelled beside what was predicted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from .backend import COLORS, plain, pyplot, save
from .methods import style_of


class Boxes(NamedTuple):
    """Oriented boxes: corners in pixels (N, 4, 2), class indices (N,), scores (N,) if predicted."""

    quads: np.ndarray
    labels: np.ndarray
    scores: Optional[np.ndarray] = None

    @classmethod
    def of(cls, record: Mapping[str, Any], above: float = -math.inf) -> 'Boxes':
        """Reads ``quads``, ``labels`` and, if there, ``scores``; those below ``above`` are out."""
        quads = np.array(record['quads'], float).reshape(-1, 4, 2)
        labels = np.array(record['labels'], int).reshape(-1)
        if 'scores' not in record:
            return cls(quads, labels)
        scores = np.array(record['scores'], float).reshape(-1)
        keep = scores >= above
        return cls(quads[keep], labels[keep], scores[keep])


class Sample(NamedTuple):
    """One picture (RGB uint8 of shape (H, W, 3)) with its labels and predictions."""

    image: np.ndarray
    truth: Boxes
    predicted: Boxes


def draw_boxes(
    axis: Any, boxes: Boxes, colors: Sequence[str], fontsize: float = 10, linewidth: float = 1.5
) -> None:
    """Draws oriented boxes with their scores."""
    from matplotlib.patches import Polygon

    rim = _rim(2 * linewidth)
    look = dict(textcoords='offset points', fontsize=fontsize, ha='center', va='bottom')
    look.update(path_effects=_rim(2.2), annotation_clip=False)  # boxes reach out of the picture
    for i, (quad, label) in enumerate(zip(boxes.quads, boxes.labels)):
        color = colors[int(label) % len(colors)]
        axis.add_patch(Polygon(quad, fill=False, ec=color, lw=linewidth, path_effects=rim))
        if boxes.scores is not None:
            place = quad[np.argmin(quad[:, 1])]
            note = axis.annotate(f'{boxes.scores[i]:.2f}', place, (0, 1), color=color, **look)
            _keep_inside(axis, note)


def _keep_inside(axis: Any, note: Any) -> None:
    """Moves a score into the picture: beside it nobody would see which box it belongs to."""
    text, frame = note.get_window_extent(), axis.get_window_extent()
    right = max(frame.x0 - text.x0, 0) - max(text.x1 - frame.x1, 0)
    up = max(frame.y0 - text.y0, 0) - max(text.y1 - frame.y1, 0)
    point = 72 / axis.figure.dpi
    note.set_position((right * point, 1 + up * point))


def class_colors(boxes: Iterable[Boxes], number: int, colors: Sequence[str] = COLORS) -> list[str]:
    """A colour for each of ``number`` classes, white where none of the boxes is of it.

    When the given colours are used up, darker ones follow.
    """
    palette = ['#ffffff'] * number
    for i, label in enumerate(sorted({int(i) for b in boxes for i in b.labels})):
        palette[label] = colors[i] if i < len(colors) else style_of(i).color
    return palette


def draw_on_image(
    path: Union[str, Path], image: np.ndarray, boxes: Boxes, colors: Sequence[str]
) -> None:
    """Writes one picture (RGB uint8 of shape (H, W, 3)) with its boxes and nothing around it.

    A ``.jpg`` is several times smaller than a ``.png``.
    """
    height, width = image.shape[:2]
    figure = pyplot().figure(figsize=(3.2, 3.2 * height / width))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image)
    axis.axis('off')
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    draw_boxes(axis, boxes, colors, fontsize=11, linewidth=1.8)
    save(figure, path, dpi=125)


def draw_class_legend(
    path: Union[str, Path], classes: Sequence[str], colors: Sequence[str]
) -> None:
    """Writes a strip that says which colour is which class."""
    columns = min(3, len(classes))
    rows = -(-len(classes) // columns)
    figure = pyplot().figure(figsize=(1.8 * columns + 0.3, 0.24 * rows + 0.16))
    handles = [_key(*pair, lw=4, path_effects=_rim(5.2)) for pair in zip(classes, colors)]
    figure.legend(handles=handles, loc='center', ncols=columns, frameon=False, fontsize=9)
    save(figure, path)


def _key(name: str, color: str, **look: Any) -> Any:
    """A line of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=plain(name), **look)


def _rim(width: float) -> list[Any]:
    """A dark rim, which keeps every colour visible on every ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground='black')]


def compare_boxes(
    path: Union[str, Path], samples: Sequence[Sample], classes: Sequence[str], title: str = ''
) -> None:
    """Writes a picture with labels (upper row) and predictions (lower row), a column a sample.

    Only classes that occur are listed.

    Raises:
        ValueError: If there is no sample.
    """
    if not samples:
        raise ValueError('samples must hold at least one picture, got none')
    every = [boxes for sample in samples for boxes in sample[1:]]
    occurring = sorted({int(i) for boxes in every for i in boxes.labels})
    palette = class_colors(every, len(classes))
    columns = len(samples)
    figure, axes = pyplot().subplots(
        2, columns, figsize=(3.6 * columns, 7.9), layout='constrained', squeeze=False
    )
    for column, sample in enumerate(samples):
        for axis in axes[:, column]:
            axis.imshow(sample.image)
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel('ground truth', fontsize=11)
    axes[1, 0].set_ylabel('predicted, with scores', fontsize=11)
    keys = [_key(classes[i], palette[i], lw=3) for i in occurring]
    if keys:
        columns = min(8, len(keys))
        figure.legend(handles=keys, loc='outside lower center', ncols=columns, frameon=False)
    figure.suptitle(plain(title))
    figure.draw_without_rendering()  # scores are kept inside pictures, whose place is known now
    for column, sample in enumerate(samples):
        draw_boxes(axes[0, column], sample.truth, palette)
        draw_boxes(axes[1, column], sample.predicted, palette)
    save(figure, path)
