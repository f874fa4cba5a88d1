"""Decides what stands where: the geometry of a scene, before anything is painted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from .geometry import contains, enclosing_rectangle, grown, overlaps, to_image, visible_fraction
from .shapes import SHAPES, Part, Shape

# A real split keeps a few empty and a few crowded tiles.
_BACKGROUND_SHARE = 0.05
_CROWDING = (0.4, 0.8, 1.0, 1.0, 1.8)

_MIN_VISIBLE = 0.8
_DIFFICULT_BELOW = 0.9
_CANOPY_SHARE = 0.03
_REFERENCE_AREA = 256.0 * 256.0

# A scene counts as full after so many spots in a row that did not do.
_PATIENCE = 40


@dataclass(frozen=True)
class ToyObject:
    """One drawn object."""

    label: str
    shape: str
    center: tuple[float, float]  # local origin in the image
    angle: float  # heading in radians, clockwise on the screen from the right
    parts: list[Part]  # what is painted, in local coordinates
    box: np.ndarray  # (4, 2) image corners, clockwise from the left of the head
    truncated: bool = False  # the picture's border cuts it
    difficult: bool = False  # a good part is cut off or lies under trees
    # Discs (x, y, radius) of foliage that hide a part of it.
    canopy: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Group:
    """Objects of one class that share a piece of ground, given by a rectangle (4, 2)."""

    shape: Shape
    angle: float
    pad: np.ndarray
    objects: list[ToyObject] = field(default_factory=list)


def plan_scene(
    rng: np.random.Generator, size: int, classes: dict[str, Sequence[str]], density: float
) -> list[Group]:
    """Places groups of objects that do not overlap; none for a background picture.

    ``classes`` has shape names by class name, ``density`` is a mean on 256 x 256 pixels.
    """
    if rng.random() < _BACKGROUND_SHARE:
        return []
    wanted = density * size * size / _REFERENCE_AREA * _CROWDING[rng.integers(len(_CROWDING))]
    wanted = max(1, int(round(wanted)))
    labels = list(classes)
    groups: list[Group] = []
    placed = misses = 0
    while placed < wanted and misses < _PATIENCE:
        label = labels[int(rng.integers(len(labels)))]
        names = classes[label]
        shape = SHAPES[names[int(rng.integers(len(names)))]]
        group = _place_group(rng, size, label, shape, wanted - placed, groups)
        if group is None:
            misses += 1
            continue
        groups.append(group)
        placed += len(group.objects)
        misses = 0
    return groups


def _place_group(
    rng: np.random.Generator, size: int, label: str, shape: Shape, room: int, groups: list[Group]
) -> Optional[Group]:
    """Tries one random spot for one random group; returns None if it does not fit there."""
    low, high = shape.members
    count = min(int(rng.integers(low, high + 1)), max(room, low))
    angle = float(rng.uniform(0, 2 * np.pi))
    center = rng.uniform(0.04 * size, 0.96 * size, 2)
    if any(contains(other.pad, center) for other in groups):
        return None
    drawings = [shape.draw(rng) for _ in range(count)]
    if shape.ground == 'paved' and shape.pattern == 'row':
        # Neighbouring courts are built as one facility: same size, same paint.
        drawings = drawings[:1] * count
    frames = [enclosing_rectangle(part.points for part in parts) for parts in drawings]
    objects: list[ToyObject] = []
    for parts, frame, (offset, turn) in zip(drawings, frames, _arrange(rng, shape, frames)):
        heading = 0.0 if shape.upright else angle + turn
        spot = tuple(to_image(offset[None], center, angle)[0])
        box = to_image(frame, spot, heading)
        near = grown(box, shape.gap / 4 + 0.5)
        if any(overlaps(near, other.box) for other in objects):
            continue
        visible = visible_fraction(box, size)
        if visible < _MIN_VISIBLE or not (0 < box.mean(0).min() and box.mean(0).max() < size):
            continue
        canopy = _canopy(rng, shape, box)
        truncated = bool((box < 0).any() or (box > size).any())
        difficult = bool(visible < _DIFFICULT_BELOW or canopy)
        state = (truncated, difficult, canopy)
        objects.append(ToyObject(label, shape.name, spot, heading, parts, box, *state))
    if not objects:
        return None
    pad = _pad(objects, angle, center)
    if any(overlaps(pad, other.pad) for other in groups):
        return None
    return Group(shape, angle, pad, objects)


def _arrange(
    rng: np.random.Generator, shape: Shape, frames: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, float]]:
    """Returns an offset in the group's frame and an extra turn for each member."""
    lengths = np.array([frame[0, 0] - frame[3, 0] for frame in frames])
    widths = np.array([frame[1, 1] - frame[0, 1] for frame in frames])
    count = len(frames)
    spots: list[tuple[np.ndarray, float]] = []
    if shape.pattern == 'grid':
        columns = int(np.ceil(np.sqrt(count)))
        cell = max(lengths.max(), widths.max()) + shape.gap
        spots += [(np.array(divmod(i, columns)) * cell, 0.0) for i in range(count)]
    elif shape.pattern == 'row':
        # Long rows fold into two that face each other, as on a parking lot.
        per_row = count if count < 5 else int(np.ceil(count / 2))
        slot = widths.max() + shape.gap * rng.uniform(0.7, 1.6)
        aisle = lengths.max() + shape.gap * rng.uniform(1.5, 3.5)
        for i in range(count):
            row, column = divmod(i, per_row)
            turn = np.pi * row + rng.normal(0, 0.02)
            wobble = rng.normal(0, 0.5, 2)
            spots.append((np.array([row * aisle, column * slot]) + wobble, turn))
    else:
        reach = lengths.max() * 0.6 * np.sqrt(count - 1) + shape.gap
        for _ in range(count):
            offset = rng.uniform(-reach, reach, 2) if count > 1 else np.zeros(2)
            turn = rng.normal(0, 0.25) + (np.pi if rng.random() < 0.3 else 0.0)
            spots.append((offset, turn))
    middle = np.mean([offset for offset, _ in spots], axis=0)
    return [(offset - middle, turn) for offset, turn in spots]


def _canopy(rng: np.random.Generator, shape: Shape, box: np.ndarray) -> tuple:
    """Now and then lets trees hide one end of an object on dry ground."""
    hidden = rng.random() < _CANOPY_SHARE
    sides = np.linalg.norm(box[1] - box[0]), np.linalg.norm(box[1] - box[2])
    if not hidden or shape.ground in ('water', 'river') or max(sides) > 70:
        return ()
    end = (box[0] + box[1]) / 2 if rng.random() < 0.5 else (box[2] + box[3]) / 2
    discs = []
    for share in (0.15, 0.5, 0.85):
        corner = end + (box[1] - box[0]) * (share - 0.5)
        spot = corner + (box.mean(0) - end) * rng.uniform(0.1, 0.4)
        discs.append((float(spot[0]), float(spot[1]), float(min(sides) * rng.uniform(0.22, 0.34))))
    return tuple(discs)


def _pad(objects: Sequence[ToyObject], angle: float, center: np.ndarray) -> np.ndarray:
    """Returns the rectangle in the group's direction around its objects, with a margin."""
    corners = np.concatenate([item.box for item in objects]) - center
    local = to_image(corners, (0.0, 0.0), -angle)
    return grown(to_image(enclosing_rectangle([local]), tuple(center), angle), 6.0)
