"""Random numbers and noise of the toy scenes.

Every picture owns its generators. They are derived from (seed, split, index) and a stream name
alone, so a picture does not depend on how many others are drawn, in which order or by how many
processes, and its geometry does not depend on the style that is painted over it.
"""

import cv2
import numpy as np

SPLITS = ('train', 'val', 'test')

# Geometry, ground and style draw from separate streams: a style that needs more random numbers
# than another must not move a single object.
STREAMS = ('layout', 'ground', 'style')


def scene_rng(seed: int, split: str, index: int, stream: str) -> np.random.Generator:
    """Returns a fresh generator of one of ``STREAMS`` of picture ``index`` in one of ``SPLITS``."""
    entropy = (seed, SPLITS.index(split), index, STREAMS.index(stream))
    return np.random.default_rng(np.random.SeedSequence(entropy))


def fractal_noise(rng: np.random.Generator, size: int, cell: float, octaves: int = 4) -> np.ndarray:
    """Sums octaves of smooth value noise: float32 (size, size), mean 0, standard deviation 1.

    The coarsest blobs are ``cell`` pixels large, each layer has cells half as large as the one
    before, and half of its amplitude.
    """
    # Half the resolution takes a quarter of the time and looks the same: the noise is smooth.
    half = (size + 1) // 2
    cell /= 2
    total = np.zeros((half, half), np.float32)
    amplitude = 1.0
    for _ in range(octaves):
        step = max(cell, 1.0)
        grid = int(np.ceil(half / step)) + 3
        coarse = rng.standard_normal((grid, grid), dtype=np.float32)
        side = int(np.ceil(grid * step))
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        # A random window hides the lattice: without it every octave has a node in the corner.
        top, left = rng.integers(0, side - half + 1, 2)
        total += amplitude * smooth[top : top + half, left : left + half]
        amplitude /= 2
        cell /= 2
    total = cv2.resize(total, (size, size), interpolation=cv2.INTER_LINEAR)
    return (total - total.mean()) / (total.std() + 1e-6)


def soft_step(noise: np.ndarray, threshold: float, softness: float = 0.25) -> np.ndarray:
    """Turns noise into a mask (float32, 0 to 1): one half at ``threshold``, ``softness`` wide."""
    return np.clip((noise - threshold) / softness + 0.5, 0.0, 1.0).astype(np.float32)
