"""Plane geometry of drawn objects.

Objects are built in a local frame in pixels: ``x`` points to the head, ``y`` to the right of it
(the image's ``y`` axis points down). Image coordinates are continuous: pixel ``i`` covers
``[i, i + 1]``, so a box that encloses a shape encloses the centre of each of its pixels.
"""

from collections.abc import Iterable

import cv2
import numpy as np


def to_image(points: np.ndarray, center: tuple[float, float], angle: float) -> np.ndarray:
    """Moves local points (N, 2) into the image: origin to ``center``, turned by ``angle``.

    The angle is in radians, clockwise on the screen; 0 points to the right.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, np.float64) @ np.array([[cos, sin], [-sin, cos]]) + center


def rectangle(length: float, width: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Returns a rectangle around (x, y): head-left, head-right, tail-right, tail-left."""
    a, b = length / 2, width / 2
    return np.array([[x + a, y - b], [x + a, y + b], [x - a, y + b], [x - a, y - b]])


def ellipse(a: float, b: float, x: float = 0.0, y: float = 0.0, count: int = 40) -> np.ndarray:
    """Returns an ellipse with half axes a and b; its four extremes are among the points."""
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + a * np.cos(turns), y + b * np.sin(turns)], 1)


def rounded(length: float, width: float, radius: float, x: float = 0.0, y: float = 0.0):
    """Returns a rectangle with round corners as points of shape (32, 2)."""
    radius = min(radius, length / 2, width / 2)
    turns = np.linspace(0, np.pi / 2, 8)
    arc = radius * np.stack([np.cos(turns), np.sin(turns)], 1)
    a, b = length / 2 - radius, width / 2 - radius
    quarter = [(a, b), (-a, b), (-a, -b), (a, -b)]
    arcs = [to_image(arc, corner, i * np.pi / 2) for i, corner in enumerate(quarter)]
    return np.concatenate(arcs) + (x, y)


def enclosing_rectangle(shapes: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the tight local rectangle (4, 2) around shapes (N, 2), from the left of the head."""
    points = np.concatenate([np.asarray(shape, np.float64) for shape in shapes])
    (tail, left), (head, right) = points.min(0), points.max(0)
    return np.array([[head, left], [head, right], [tail, right], [tail, left]])


def grown(box: np.ndarray, margin: float) -> np.ndarray:
    """Moves the corners of a rectangle outwards by ``margin`` pixels along both sides."""
    forward, across = box[0] - box[3], box[1] - box[0]
    forward = forward / max(np.linalg.norm(forward), 1e-9) * margin
    across = across / max(np.linalg.norm(across), 1e-9) * margin
    signs = ((1, -1), (1, 1), (-1, 1), (-1, -1))
    return box + np.array([a * forward + b * across for a, b in signs])


def overlaps(first: np.ndarray, second: np.ndarray) -> bool:
    """Tells whether two convex quadrilaterals of shape (4, 2) share more than a border."""
    for quad in (first, second):
        for i in range(4):
            edge = quad[(i + 1) % 4] - quad[i]
            normal = np.array([-edge[1], edge[0]])
            a, b = first @ normal, second @ normal
            if a.max() <= b.min() or b.max() <= a.min():
                return False
    return True


def contains(quad: np.ndarray, point: np.ndarray) -> bool:
    """Tells whether a point lies in a convex quadrilateral of shape (4, 2)."""
    return cv2.pointPolygonTest(quad.astype(np.float32), tuple(map(float, point)), False) > 0


def visible_fraction(box: np.ndarray, size: int) -> float:
    """Returns which part of a box's area lies inside a square image of that size."""
    frame = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    quad = box.astype(np.float32)
    area = abs(cv2.contourArea(quad))
    inside, _ = cv2.intersectConvexConvex(quad, frame)
    return float(inside / area) if area > 0 else 0.0
