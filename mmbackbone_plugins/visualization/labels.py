"""Names beside points that do not lie on each other."""

import math
from collections.abc import Sequence
from typing import Any

from .backend import plain

# Directions in the order of preference (right, left, above, below, diagonals), then farther out.
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 68, 292, 112, 248)
_DISTANCES = (7, 14, 24, 36, 52, 72)  # points


def label_points(
    axis: Any,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colors: Sequence[str],
    bars: Sequence[Any] = (),
    size: float = 9,
) -> list[Any]:
    """Writes a text beside each point, where it covers no other text, point or bar.

    A text that has to go farther out gets a thin line to its point. Call it last: limits and
    scales of the axis must not change afterwards.

    Args:
        axis: Matplotlib axis.
        points: Data coordinates.
        texts: A text per point.
        colors: A colour per point.
        bars: Segments to keep clear of, each ((x, y), (x, y)) in data coordinates.
        size: Size of the font in points.

    Returns:
        The annotations, in the order of the points.
    """
    figure = axis.figure
    figure.draw_without_rendering()  # lays the axes out, so that pixels are final
    renderer = figure.canvas.get_renderer()
    pixel = figure.dpi / 72
    where = [tuple(axis.transData.transform(point)) for point in points]
    radius = 4.5 * pixel
    taken = [(x - radius, y - radius, x + radius, y + radius) for x, y in where]
    for start, end in bars:
        (x0, y0), (x1, y1) = axis.transData.transform([start, end])
        taken.append((min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    frame = axis.get_window_extent(renderer)
    frame = (frame.x0, frame.y0, frame.x1, frame.y1)
    found = []
    # From the top: where points crowd, a fixed order keeps the texts in the points' order.
    for i in sorted(range(len(points)), key=lambda i: -where[i][1]):
        note = axis.annotate(
            plain(texts[i]),
            points[i],
            xytext=(0, 0),
            textcoords='offset points',
            ha='center',
            va='center',
            fontsize=size,
            color=colors[i],
            annotation_clip=False,
        )
        extent = note.get_window_extent(renderer)
        best = None
        for distance in _DISTANCES:
            for angle in _ANGLES:
                shift = _shift(angle, distance * pixel, extent.width, extent.height)
                box = _around(where[i][0] + shift[0], where[i][1] + shift[1], extent)
                covered = sum(_overlap(box, other) for other in taken) + _outside(box, frame)
                if best is None or covered < best[0] - 1e-9:
                    best = (covered, distance, shift, box)
                if covered == 0:
                    break
            if best[0] == 0:
                break
        _, distance, shift, box = best
        note.set_position((shift[0] / pixel, shift[1] / pixel))
        if distance > _DISTANCES[0]:
            axis.annotate(
                '',
                points[i],
                xytext=[
                    (end - start) / pixel for end, start in zip(_nearest(box, where[i]), where[i])
                ],
                textcoords='offset points',
                arrowprops=dict(arrowstyle='-', lw=0.6, color=colors[i], shrinkA=0, shrinkB=3),
                annotation_clip=False,
            )
        taken.append(box)
        found.append((i, note))
    return [note for _, note in sorted(found, key=lambda item: item[0])]


def _shift(angle: float, distance: float, width: float, height: float) -> tuple[float, float]:
    """From the point to the centre of the text, so that its border is ``distance`` away."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    beside = 0 if angle % 180 == 90 else math.copysign(width / 2, c)
    above = 0 if angle % 180 == 0 else math.copysign(height / 2, s)
    return c * distance + beside, s * distance + above


def _around(x: float, y: float, extent: Any) -> tuple[float, float, float, float]:
    return x - extent.width / 2, y - extent.height / 2, x + extent.width / 2, y + extent.height / 2


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _outside(box: Sequence[float], frame: Sequence[float]) -> float:
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return whole - _overlap(box, frame)


def _nearest(box: Sequence[float], point: Sequence[float]) -> tuple[float, float]:
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])
