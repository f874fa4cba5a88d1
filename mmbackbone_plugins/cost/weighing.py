"""FLOPs of batches of many shapes, of which only some were counted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional


@dataclass
class Counted:
    """FLOPs of one batch, forward and backward.

    Batches are named by their shape, images x height x width in pixels, padding included:
    ``'2x800x1344'``, and ``'2x800x1344, 1 read'`` where the features of an image were not computed;
    ``'unknown'`` where there was no way to know.
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
    images, pixels, read = _size(shape)

    def distance(other: str) -> tuple[float, float, float]:
        there = _size(other)
        share = abs(there[2] / there[0] - read / images)
        return share, abs(math.log(there[1] / pixels)), abs(math.log(there[0] / images))

    nearest = min(counted, key=distance)
    return round(getattr(counted[nearest], part) * images * pixels / math.prod(_size(nearest)[:2]))


def _size(shape: str) -> tuple[int, int, int]:
    """Images, pixels of one, and images that were read; an unknown shape is like any other."""
    size, _, read = shape.partition(', ')
    numbers = [int(n) for n in size.split('x')] if size[:1].isdigit() else [1, 1, 1]
    return numbers[0], numbers[1] * numbers[2], int(read.split()[0]) if read else 0
