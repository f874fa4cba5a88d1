"""Pictures of oriented boxes: what was labelled beside what was predicted."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from .backend import COLORS, plain, pyplot, save


class Boxes(NamedTuple):
    """Oriented boxes of one picture.

    Attributes:
        quads (np.ndarray): Corners of shape (N, 4, 2) in pixels.
        labels (np.ndarray): Class indices of shape (N,).
        scores (np.ndarray | None): Scores of shape (N,), or None for ground truth.
    """

    quads: np.ndarray
    labels: np.ndarray
    scores: Optional[np.ndarray] = None


class Sample(NamedTuple):
    """One picture (RGB uint8 of shape (H, W, 3)) with its labels and predictions."""

    image: np.ndarray
    truth: Boxes
    predicted: Boxes


def draw_boxes(
    axis: Any, boxes: Boxes, colors: Sequence[str], fontsize: float = 5.5, linewidth: float = 1.3
) -> None:
    """Draws oriented boxes with their scores.

    Args:
        axis: Matplotlib axis in pixel coordinates.
        boxes (Boxes): What to draw.
        colors (Sequence[str]): Colour of each class.
        fontsize (float): Of the scores, in points.
        linewidth (float): Of the boxes, in points.
    """
    from matplotlib.patches import Polygon

    rim = _rim(2 * linewidth)
    for i, (quad, label) in enumerate(zip(boxes.quads, boxes.labels)):
        color = colors[int(label) % len(colors)]
        axis.add_patch(Polygon(quad, fill=False, ec=color, lw=linewidth, path_effects=rim))
        if boxes.scores is not None:
            x, y = quad[np.argmin(quad[:, 1])]
            text = f'{boxes.scores[i]:.2f}'
            # Beside the picture nobody would see which box a score belongs to.
            x, y = np.clip([x, y], 8, np.array(_extent(axis)) - 2)
            axis.text(
                x,
                y - 1,
                text,
                color=color,
                fontsize=fontsize,
                ha='center',
                va='bottom',
                path_effects=_rim(1.4),
            )


def _extent(axis: Any) -> tuple[float, float]:
    """Returns width and height of the picture on an axis."""
    return max(axis.get_xlim()) + 0.5, max(axis.get_ylim()) + 0.5


def class_colors(boxes: Iterable[Boxes], number: int, colors: Sequence[str] = COLORS) -> list[str]:
    """Gives the classes that occur a colour each; with more classes than colours, they repeat.

    Args:
        boxes: All boxes that share the colours.
        number: Number of classes.
        colors: Colours to give out.

    Returns:
        A colour by class index; white for a class that does not occur.
    """
    palette = ['#ffffff'] * number
    for i, label in enumerate(sorted({int(i) for b in boxes for i in b.labels})):
        palette[label] = colors[i % len(colors)]
    return palette


def draw_on_image(
    path: Union[str, Path], image: np.ndarray, boxes: Boxes, colors: Sequence[str]
) -> None:
    """Writes one picture with its boxes and nothing around it.

    Args:
        path: Picture file to write; ``.jpg`` is several times smaller than ``.png``.
        image: RGB uint8 of shape (H, W, 3).
        boxes: What to draw.
        colors: Colour of each class.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    height, width = image.shape[:2]
    figure = pyplot().figure(figsize=(3.2, 3.2 * height / width))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image)
    axis.axis('off')
    draw_boxes(axis, boxes, colors, fontsize=8, linewidth=1.8)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    save(figure, path, dpi=125)


def draw_class_legend(
    path: Union[str, Path], classes: Sequence[str], colors: Sequence[str]
) -> None:
    """Writes a strip that says which colour is which class.

    Args:
        path: Picture file to write.
        classes: Names.
        colors: A colour for each.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.lines import Line2D

    columns = min(3, len(classes))
    rows = -(-len(classes) // columns)
    figure = pyplot().figure(figsize=(1.8 * columns + 0.3, 0.24 * rows + 0.16))
    handles = [
        Line2D([], [], color=color, lw=4, label=plain(name), path_effects=_rim(5.2))
        for name, color in zip(classes, colors)
    ]
    figure.legend(handles=handles, loc='center', ncols=columns, frameon=False, fontsize=9)
    save(figure, path)


def _rim(width: float) -> list[Any]:
    """A dark rim, which keeps every colour visible on every ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground='black')]


def compare_boxes(
    path: Union[str, Path],
    samples: Sequence[Sample],
    classes: Sequence[str],
    title: str = '',
    colors: Sequence[str] = COLORS,
) -> None:
    """Writes a picture with labels (upper row) and predictions (lower row), a column a sample.

    Only classes that occur are listed; with more classes than colours, colours repeat.

    Args:
        path (str | Path): Picture file to write.
        samples (Sequence[Sample]): Pictures with boxes.
        classes (Sequence[str]): Class names by index.
        title (str): Title of the figure. Defaults to ''.
        colors (Sequence[str]): Colours to give out. Defaults to colours that are safe for
            colour-blind readers.

    Raises:
        ValueError: If there is no sample.
        ImportError: If matplotlib is not installed.
    """
    if not samples:
        raise ValueError('samples must hold at least one picture, got none')
    plt = pyplot()
    from matplotlib.lines import Line2D

    every = [boxes for sample in samples for boxes in sample[1:]]
    occurring = sorted({int(i) for boxes in every for i in boxes.labels})
    palette = class_colors(every, len(classes), colors)
    columns = len(samples)
    figure, axes = plt.subplots(
        2, columns, figsize=(2.9 * columns, 6.5), layout='constrained', squeeze=False
    )
    for column, sample in enumerate(samples):
        for axis, boxes in zip(axes[:, column], (sample.truth, sample.predicted)):
            axis.imshow(sample.image)
            axis.set_xticks([])
            axis.set_yticks([])
            draw_boxes(axis, boxes, palette)
    axes[0, 0].set_ylabel('ground truth', fontsize=11)
    axes[1, 0].set_ylabel('predicted, with scores', fontsize=11)
    handles = [Line2D([], [], color=palette[i], lw=3, label=classes[i]) for i in occurring]
    if handles:
        figure.legend(
            handles=handles, loc='outside lower center', ncols=min(8, len(handles)), frameon=False
        )
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)
