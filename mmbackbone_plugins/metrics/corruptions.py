"""The corruptions of Hendrycks and Dietterich for pictures of any size, repeatable for each.

Source: C. Michaelis et al., "Benchmarking Robustness in Object Detection" (arXiv 1907.07484), and
their library ``imagecorruptions``; what runs on a current numpy is ``imagecorruptions-imaug``.
"""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..utils.checks import whole_number

GROUPS: dict[str, tuple[str, ...]] = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
BENCHMARK = tuple(name for names in GROUPS.values() for name in names)
VALIDATION = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
SEVERITIES = (1, 2, 3, 4, 5)
MIN_SIDE = 32  # pixels, the library's own limit

# These two draw from a generator of their own instead of numpy's global one.
_OWN_SEED = ('impulse_noise', 'glass_blur')


def select_corruptions(names: Sequence[str]) -> list[str]:
    """Corruptions by name or group, each once, in the order asked for.

    Groups are ``'benchmark'`` for the 15; ``'noise'``, ``'blur'``, ``'weather'``, ``'digital'``;
    ``'validation'`` for the other 4 of the library. A ValueError if a name is none of these.
    """
    groups = dict(GROUPS, benchmark=BENCHMARK, validation=VALIDATION)
    known = [*groups, *BENCHMARK, *VALIDATION]
    chosen: list[str] = []
    for name in names:
        if name not in known:
            raise ValueError(f'corruptions must be among {known}, got {name!r}')
        chosen += [one for one in groups.get(name, (name,)) if one not in chosen]
    if not chosen:
        raise ValueError('corruptions must name at least one, got none')
    return chosen


def check_corruption(corruption: Any, severity: Any, seed: Any) -> None:
    """Checks the arguments that all share; the ValueError names the one that is out of range."""
    known = [*BENCHMARK, *VALIDATION]
    if corruption not in known:
        raise ValueError(f'corruption must be one of {known}, got {corruption!r}')
    if isinstance(severity, bool) or severity not in (0, *SEVERITIES):
        raise ValueError(
            f'severity must be a whole number from 0 (untouched) to 5, got {severity!r}'
        )
    whole_number('seed', seed, 0, 'a whole number from 0')


def image_seed(name: str, corruption: str, severity: int, seed: int = 0) -> int:
    """Seed of one picture's noise, in 0 .. 2**32 - 1, by its name; the same in every process."""
    text = '\n'.join((name, corruption, str(severity), str(seed)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'big')


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Corrupts one picture; random numbers of the caller are left as they were.

    It is RGB (the order matters to snow, frost, spatter and JPEG), uint8 of shape (H, W, 3), at
    least 32 pixels a side. Severity 0 returns the picture itself; the seed is in 0 .. 2**32 - 1.
    """
    check_corruption(corruption, severity, seed)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            'image must be uint8 of shape (height, width, 3), '
            f'got {image.dtype} of shape {image.shape}'
        )
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f'image must have at least {MIN_SIDE} pixels a side, got {image.shape[1]} x '
            f'{image.shape[0]}: the corruptions are not defined for smaller ones'
        )
    if severity == 0:
        return image
    library = load_library()
    options = dict(seed=seed) if corruption in _OWN_SEED else {}
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        # Two corruptions print a remark for pictures whose enlarged copies are a pixel short.
        with contextlib.redirect_stdout(io.StringIO()):
            return library.corrupt(
                np.ascontiguousarray(image), severity, corruption_name=corruption, **options
            )
    finally:
        np.random.set_state(state)


def load_library() -> Any:
    """The library ``imagecorruptions``; an ImportError says what to install."""
    try:
        import imagecorruptions
    except ImportError as error:
        raise ImportError(
            'corruptions need the package imagecorruptions: '
            f'pip install imagecorruptions-imaug==1.1.5 ({error})'
        ) from error
    return imagecorruptions
