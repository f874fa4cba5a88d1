"""FLOPs of batches of many shapes, of which only some were counted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional


@dataclass
class Counted:
    """FLOPs of one batch, forward and backward.

    Batches are named by their shape, images x height x width in pixels, padding included:
    ``'2x800x1344'``; ``'unknown'`` where there was no way to know.
    """

    forward: int
    backward: int

    @property
    def total(self) -> int:
        return self.forward + self.backward


def weigh(
    batches: Mapping[str, int], counted: Mapping[str, Counted], part: str = 'total'
) -> Optional[int]:
    """FLOPs of a number of batches by shape, of which some were counted.

    A shape that was not counted takes the FLOPs of the nearest one that was, in proportion to the
    pixels: exact for another number of images, close for another size (all but the second stage of
    a two-stage detector goes with the pixels). ``part`` is ``'forward'``, ``'backward'`` or
    ``'total'``. None where batches exist but none was counted.
    """
    if not counted:
        return None if any(batches.values()) else 0
    return sum(number * _flops_of(shape, counted, part) for shape, number in batches.items())


def _flops_of(shape: str, counted: Mapping[str, Counted], part: str) -> int:
    if shape in counted:
        return getattr(counted[shape], part)
    images, pixels = _size(shape)

    def distance(other: str) -> tuple[float, float]:
        there = _size(other)
        return abs(math.log(there[1] / pixels)), abs(math.log(there[0] / images))

    nearest = min(counted, key=distance)
    return round(getattr(counted[nearest], part) * images * pixels / math.prod(_size(nearest)))


def _size(shape: str) -> tuple[int, int]:
    """Images, and pixels of one; an unknown shape is like any other of its kind."""
    numbers = [int(n) for n in shape.split('x')] if shape[:1].isdigit() else [1, 1, 1]
    return numbers[0], numbers[1] * numbers[2]
