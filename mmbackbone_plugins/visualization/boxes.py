"""Pictures of oriented boxes: what was labelled beside what was predicted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from .backend import COLORS, pyplot


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


def draw_boxes(axis: Any, boxes: Boxes, colors: Sequence[str]) -> None:
    """Draws oriented boxes with their scores.

    Args:
        axis: Matplotlib axis in pixel coordinates.
        boxes (Boxes): What to draw.
        colors (Sequence[str]): Colour of each class.
    """
    from matplotlib.patches import Polygon
    from matplotlib.patheffects import withStroke

    # A dark rim keeps every colour visible on every ground.
    rim = [withStroke(linewidth=2.6, foreground='black')]
    for i, (quad, label) in enumerate(zip(boxes.quads, boxes.labels)):
        color = colors[int(label) % len(colors)]
        axis.add_patch(Polygon(quad, fill=False, ec=color, lw=1.3, path_effects=rim))
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
                fontsize=5.5,
                ha='center',
                va='bottom',
                path_effects=[withStroke(linewidth=1.4, foreground='black')],
            )


def _extent(axis: Any) -> tuple[float, float]:
    """Returns width and height of the picture on an axis."""
    return max(axis.get_xlim()) + 0.5, max(axis.get_ylim()) + 0.5


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

    occurring = sorted({int(i) for s in samples for b in s[1:] for i in b.labels})
    palette = ['#ffffff'] * len(classes)
    for i, label in enumerate(occurring):
        palette[label] = colors[i % len(colors)]
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
