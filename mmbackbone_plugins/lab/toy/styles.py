"""Visual styles: how the same scene looks in other weather, light or through another sensor.

A style gets the clean picture with masks of objects and water, and returns a new picture. It
never moves anything, so two styles of one scene form a pair for domain-shift experiments.
"""

from typing import Callable, NamedTuple

import cv2
import numpy as np

from .canvas import blend
from .seeding import fractal_noise, soft_step


class Layers(NamedTuple):
    """A clean scene: RGB float32 (H, W, 3) in 0 to 255, masks float32 (H, W) in 0 to 1."""

    image: np.ndarray
    objects: np.ndarray
    water: np.ndarray


Style = Callable[[Layers, np.random.Generator], np.ndarray]
STYLES: dict[str, Style] = {}


def style(function: Style) -> Style:
    """Registers a style under the name of its function."""
    STYLES[function.__name__] = function
    return function


def _gray(image: np.ndarray) -> np.ndarray:
    return image @ np.float32([0.299, 0.587, 0.114])


@style
def clear(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Good light; brightness, contrast and white balance vary a little between pictures."""
    tint = rng.normal(1.0, 0.025, 3).astype(np.float32)
    image = (layers.image - 128) * rng.uniform(0.88, 1.12) + 128 + rng.normal(0, 6)
    return image * tint


@style
def haze(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Uneven veil of bluish grey, thicker in banks, which costs contrast."""
    size = layers.image.shape[0]
    banks = fractal_noise(rng, size, size / 2, 4)
    veil = np.clip(rng.uniform(0.38, 0.58) + 0.14 * banks, 0.12, 0.8)
    soft = cv2.GaussianBlur(layers.image, (0, 0), 0.7)
    return blend(soft, np.float32([204, 210, 216]), veil)


@style
def dusk(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Low light: dark, blue in the shade, warm in the light, noisy."""
    image = layers.image * np.float32(rng.uniform(0.34, 0.5))
    light = (_gray(layers.image) / 255)[..., None]
    image = image * (
        np.float32([0.82, 0.9, 1.22]) * (1 - light) + np.float32([1.25, 1.0, 0.8]) * light
    )
    noise = rng.normal(0, 4.5, image.shape).astype(np.float32)
    return image + noise + 6


@style
def snow(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Snow on the ground, thin on roofs and objects, none on water."""
    size = layers.image.shape[0]
    depth = fractal_noise(rng, size, size / 6, 5)
    cover = soft_step(depth, rng.uniform(-1.1, -0.5), 1.2) * 0.86
    cover = cover * (1 - layers.water) * (1 - 0.82 * layers.objects)
    relief = (_gray(layers.image) - 128)[..., None] * 0.22
    white = np.float32([232, 236, 244]) + relief
    image = blend(layers.image, white, cover)
    return blend(image, np.float32([226, 230, 238]), (0.06 + 0.3 * layers.water) * 0.5)


@style
def arid(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Dry season: greens turn to straw, dust lies over everything but water."""
    image = layers.image
    green = np.clip((image[..., 1] - np.maximum(image[..., 0], image[..., 2])) / 18 + 0.4, 0, 1)
    straw = _gray(image)[..., None] * np.float32([1.26, 1.08, 0.78]) + 12
    strength = green * rng.uniform(0.75, 0.95) * (1 - 0.85 * layers.objects)
    image = blend(image, straw, strength)
    dust = np.float32(rng.uniform(0.1, 0.22)) * (1 - 0.7 * layers.water)
    return blend(image, np.float32([206, 178, 136]), dust)


@style
def rain(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Overcast and wet: flat grey light, dark ground, puddles, streaks of rain."""
    size = layers.image.shape[0]
    gray = _gray(layers.image)[..., None]
    image = (layers.image * 0.55 + gray * 0.45) * np.float32([0.78, 0.82, 0.86])
    puddles = soft_step(fractal_noise(rng, size, 26, 3), 1.3, 0.2) * (1 - layers.objects)
    image = blend(image, np.float32([118, 126, 136]), puddles * 0.55)
    drops = (rng.random((size, size)) < 0.004).astype(np.float32)
    length = 9
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, (2, 0), (length - 3, length - 1), 1.0)
    streaks = cv2.filter2D(drops, -1, kernel)
    streaks = np.clip(cv2.GaussianBlur(streaks, (0, 0), 0.6), 0, 1)
    return blend(image, np.float32([206, 210, 214]), streaks * 0.5)


@style
def sensor(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Cheap sensor: colour cast, line noise, grain and coarse JPEG blocks."""
    cast = rng.permutation(np.float32([1.07, 1.0, 0.94]))
    image = layers.image * cast
    lines = rng.normal(0, 4.5, (image.shape[0], 1, 1)).astype(np.float32)
    image = image + lines + rng.normal(0, 9, image.shape).astype(np.float32)
    image = np.clip(image, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(22, 40))]
    _, data = cv2.imencode('.jpg', image, quality)
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32)


@style
def blur(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    """Out of focus with a little motion of the platform."""
    image = cv2.GaussianBlur(layers.image, (0, 0), float(rng.uniform(1.1, 1.7)))
    length = int(rng.integers(3, 7)) | 1
    turn = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    dx, dy = int(round(middle * np.cos(turn))), int(round(middle * np.sin(turn)))
    cv2.line(kernel, (middle - dx, middle - dy), (middle + dx, middle + dy), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())
