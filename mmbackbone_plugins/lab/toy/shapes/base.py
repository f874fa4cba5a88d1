"""What a shape is, and the table of all shapes."""

from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One filled polygon of an object."""

    points: np.ndarray
    color: Color


@dataclass(frozen=True)
class Shape:
    """How objects of one kind are drawn and where they stand."""

    name: str  # key in SHAPES
    draw: Callable[[np.random.Generator], list[Part]]  # a random object, painted in that order
    ground: str  # what lies under it, a key of ground.PADS
    pattern: str = 'single'  # of a group: 'row', 'grid', 'scatter' (around a common heading)
    members: tuple[int, int] = (1, 1)  # smallest and largest number of objects in a group
    gap: float = 4.0  # space between neighbours in a group, in pixels
    height: float = 2.0  # length of its shadow in pixels
    upright: bool = False  # round things have no heading: their box stays parallel to the image


SHAPES: dict[str, Shape] = {}


def shape(**look: Any) -> Callable:
    """Registers a drawing function under its own name; see :class:`Shape` for the arguments."""

    def register(draw: Callable) -> Callable:
        SHAPES[draw.__name__] = Shape(draw.__name__, draw, **look)
        return draw

    return register


def pick(rng: np.random.Generator, colors, spread: float = 14.0) -> Color:
    """Picks one of several RGB colours and varies its brightness and tint a little."""
    color = np.asarray(colors[int(rng.integers(len(colors)))], np.float64)
    color = color + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    return tuple(float(value) for value in np.clip(color, 4, 251))


def tone(color: Color, factor: float) -> Color:
    """Makes a colour darker (factor below 1) or lighter (above 1)."""
    return tuple(float(min(value * factor, 255.0)) for value in color)


def line(start, end, width: float) -> np.ndarray:
    """Returns a straight stroke as a polygon of shape (4, 2)."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    along = end - start
    side = np.array([-along[1], along[0]]) / max(np.linalg.norm(along), 1e-9) * width / 2
    return np.array([start + side, end + side, end - side, start - side])


def ring(outer: np.ndarray, thickness: float, color: Color) -> list[Part]:
    """Returns strokes along a closed outline that stay inside it."""
    points = np.asarray(outer, np.float64)
    # Strokes are centred half their width inside, so that paint never leaves the outline.
    middle = points.mean(0)
    offsets = points - middle
    scale = 1 - thickness / np.maximum(np.linalg.norm(offsets, axis=1, keepdims=True), 1e-9)
    inner = middle + offsets * np.clip(scale, 0, 1)
    pairs = [(i, (i + 1) % len(points)) for i in range(len(points))]
    return [Part(np.array([points[i], points[j], inner[j], inner[i]]), color) for i, j in pairs]
