"""A picture under construction, drawn larger than asked and averaged at the end."""

from collections.abc import Sequence
from typing import Callable, Union

import cv2
import numpy as np

# Twice the resolution and cv2's anti-aliasing give edges as soft as a camera's.
OVERSAMPLING = 2
_SHIFT = 4

Region = tuple[slice, slice]


def blank(size: int, *channels: int) -> np.ndarray:
    """Returns an empty large canvas (uint8) for a picture of that size; by default a mask."""
    return np.zeros((size * OVERSAMPLING,) * 2 + channels, np.uint8)


def fill(canvas: np.ndarray, points: np.ndarray, color: Sequence[float]) -> None:
    """Fills a polygon given in image coordinates; concave outlines are allowed."""
    value = tuple(float(round(channel)) for channel in color)
    # cv2 counts from the centre of a pixel, in fixed point; the toy scenes from its border.
    large = np.asarray(points, np.float64) * OVERSAMPLING - 0.5
    fixed = np.round(large * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], value, cv2.LINE_AA, _SHIFT)


def polygon_mask(size: int, polygons: Sequence[np.ndarray], blur: float = 0.0) -> np.ndarray:
    """Returns a large mask (float32, 0 to 1) of polygons (N, 2), ``blur`` pixels soft."""
    mask = blank(size)
    for points in polygons:
        fill(mask, points, (255,))
    mask = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), blur * OVERSAMPLING) if blur > 0 else mask


def lay(
    canvas: np.ndarray,
    polygons: Sequence[np.ndarray],
    paint: Union[Sequence[float], Callable[[Region], np.ndarray]],
    blur: float = 0.0,
    strength: float = 1.0,
) -> None:
    """Lays paint inside polygons, each of shape (N, 2), over a float canvas, in place.

    Only the region around the polygons is touched: most things are small. The paint is an RGB
    colour, or a function that gets the region (two slices of the large canvas) and returns its
    paint of shape (h, w, 3). The border is ``blur`` pixels of the final picture soft; a
    ``strength`` of 1 covers what lies below.
    """
    if not len(polygons):
        return
    side = canvas.shape[0]
    points = np.concatenate(list(polygons)) * OVERSAMPLING
    reach = 3 * blur * OVERSAMPLING + 2
    left, top = np.clip(np.floor(points.min(0) - reach), 0, side).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0) + reach), 0, side).astype(int)
    if left >= right or top >= bottom:
        return
    region = (slice(top, bottom), slice(left, right))
    mask = np.zeros((bottom - top, right - left), np.uint8)
    corner = np.array([left, top]) / OVERSAMPLING
    for polygon in polygons:
        fill(mask, polygon - corner, (255,))
    mask = mask.astype(np.float32) * np.float32(strength / 255)
    if blur > 0:
        mask = cv2.GaussianBlur(mask, (0, 0), blur * OVERSAMPLING, borderType=cv2.BORDER_REPLICATE)
    color = paint(region) if callable(paint) else np.float32(paint)
    canvas[region] += (color - canvas[region]) * mask[..., None]


def blend(canvas: np.ndarray, paint: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns a float canvas with paint (broadcastable, 0 to 255) where the mask (H, W) is 1."""
    return canvas + (paint - canvas) * mask[..., None]


def shrink(canvas: np.ndarray) -> np.ndarray:
    """Averages a large canvas down to the size asked for."""
    side = canvas.shape[0] // OVERSAMPLING
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
