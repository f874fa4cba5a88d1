"""Things nobody asked for: buildings, trees, sheds and patches that a detector must ignore."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .canvas import OVERSAMPLING
from .geometry import ellipse, grown, overlaps, rectangle, to_image
from .layout import Group
from .shapes import Part
from .shapes.base import line, pick, tone

_ROOFS = (
    *((150, 96, 80), (168, 164, 158), (120, 122, 126), (196, 190, 178), (96, 110, 128)),
    *((206, 206, 206), (134, 112, 92)),
)


class Clutter(NamedTuple):
    """One unlabelled thing: parts in image coordinates, its outline and shadow length."""

    parts: list[Part]
    outline: np.ndarray
    height: float


def scatter_clutter(
    rng: np.random.Generator,
    size: int,
    groups: Sequence[Group],
    water: np.ndarray,
    foliage: tuple[float, float, float],
) -> list[Clutter]:
    """Places clutter beside the objects and not on the water, in the order in which to paint it."""
    boxes = [grown(item.box, 3.0) for group in groups for item in group.objects]
    pads = [group.pad for group in groups]
    items: list[Clutter] = []
    area = size * size / 65536.0

    def place(make, count: float, keep_off: Sequence[np.ndarray]) -> None:
        for _ in range(int(rng.poisson(count * area))):
            spot = rng.uniform(0, size, 2)
            angle = float(rng.uniform(0, 2 * np.pi))
            parts, frame, height = make(rng)
            outline = to_image(frame, tuple(spot), angle)
            if any(overlaps(outline, other) for other in keep_off) or _wet(outline, water):
                continue
            moved = [Part(to_image(p.points, tuple(spot), angle), p.color) for p in parts]
            items.append(Clutter(moved, outline, height))
            taken.append(outline)

    taken = list(pads)
    place(_patch, 2, taken)
    place(_building, rng.uniform(1, 9), taken)
    place(_shed, 4, boxes)
    place(_disc, 3, boxes)
    place(lambda r: _tree(r, foliage), rng.uniform(4, 40), boxes)
    return items


def _wet(outline: np.ndarray, water: np.ndarray) -> bool:
    corners = np.concatenate([outline, outline.mean(0, keepdims=True)]) * OVERSAMPLING
    corners = np.clip(corners, 0, water.shape[0] - 1).astype(int)
    return bool((water[corners[:, 1], corners[:, 0]] > 0.2).any())


def _building(rng: np.random.Generator):
    length, width = rng.uniform(18, 62), rng.uniform(14, 34)
    roof = pick(rng, _ROOFS)
    frame = rectangle(length, width)
    parts = [Part(frame, tone(roof, 0.85)), Part(rectangle(length - 2, width - 2), roof)]
    if rng.random() < 0.5:
        half = rectangle(length - 2, width / 2 - 1, 0, width / 4 - 0.5)
        parts.append(Part(half, tone(roof, rng.uniform(0.74, 0.92))))
    else:
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(-0.38, 0.38, 2) * (length, width)
            parts.append(Part(rectangle(*rng.uniform(2, 5, 2), x, y), tone(roof, 1.2)))
    return parts, frame, float(rng.uniform(4, 10))


def _shed(rng: np.random.Generator):
    """Crates and sheds: the size of a vehicle, without windows, wheels or cab."""
    side = rng.uniform(8, 15)
    frame = rectangle(side, side * rng.uniform(0.7, 1.0))
    color = pick(rng, _ROOFS)
    ridge = line(frame.mean(0) - (side / 2, 0), frame.mean(0) + (side / 2, 0), 0.8)
    return [Part(frame, color), Part(ridge, tone(color, 0.8))], frame, 3.0


def _patch(rng: np.random.Generator):
    """Plain ground in the colours of courts, without any lines."""
    frame = rectangle(rng.uniform(24, 70), rng.uniform(18, 40))
    color = pick(rng, [(92, 118, 84), (148, 104, 84), (110, 122, 132), (158, 150, 134)])
    return [Part(frame, color)], frame, 0.0


def _disc(rng: np.random.Generator):
    """Ponds, bushes and filled-in pits: round like tanks, darker and without a rim."""
    radius = rng.uniform(7, 20)
    color = pick(rng, [(70, 88, 84), (84, 100, 62), (138, 122, 96)])
    outline = ellipse(radius, radius * rng.uniform(0.75, 1.0), count=14)
    outline = outline * rng.uniform(0.9, 1.1, (14, 1))
    return [Part(outline, color)], rectangle(2 * radius, 2 * radius), 0.0


def _tree(rng: np.random.Generator, foliage: tuple[float, float, float]):
    radius = rng.uniform(2.5, 7)
    frame = rectangle(2 * radius, 2 * radius)
    return foliage_parts(rng, 0.0, 0.0, radius, foliage), frame, radius * 0.7


def foliage_parts(
    rng: np.random.Generator, x: float, y: float, radius: float, foliage
) -> list[Part]:
    """Returns a crown of leaves: a dark disc with lighter tufts."""
    color = pick(rng, [foliage], 10)
    ragged = ellipse(radius, radius, count=12) * rng.uniform(0.8, 1.1, (12, 1))
    parts = [Part(ragged + (x, y), tone(color, 0.85))]
    for _ in range(4):
        dx, dy = rng.uniform(-0.45, 0.45, 2) * radius
        tuft = ellipse(radius * 0.36, radius * 0.36, x + dx, y + dy, 8)
        parts.append(Part(tuft, tone(color, rng.uniform(1.0, 1.35))))
    return parts
