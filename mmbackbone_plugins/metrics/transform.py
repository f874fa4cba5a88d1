"""The corruptions as a transform of test pipelines, and where it belongs in them."""

import os
from typing import Any, Optional

from mmengine.registry import TRANSFORMS

from ..utils.datasets import every_dataset
from ..utils.names import arguments_by_name, type_name
from .corruptions import check_corruption, corrupt, image_seed


@TRANSFORMS.register_module()
@arguments_by_name()
class Corruption:
    """Corrupts the picture that ``LoadImageFromFile`` has just read.

    It comes right after the loader, at the resolution of the file and before anything is resized.
    The noise of a picture depends on its file name, the corruption, the severity and the seed
    alone: not on the order of the pictures, the worker or the process.

    Args:
        corruption: One of the 15 of the benchmark (``'gaussian_noise'``, ``'shot_noise'``,
            ``'impulse_noise'``, ``'defocus_blur'``, ``'glass_blur'``, ``'motion_blur'``,
            ``'zoom_blur'``, ``'snow'``, ``'frost'``, ``'fog'``, ``'brightness'``, ``'contrast'``,
            ``'elastic_transform'``, ``'pixelate'``, ``'jpeg_compression'``) or of the 4 that it
            keeps for development (``'speckle_noise'``, ``'gaussian_blur'``, ``'spatter'``,
            ``'saturate'``).
        severity: 1 to 5, or 0 for an untouched picture.
        seed: Another one gives other noise.

    Raises:
        ValueError: If an argument is not one of the above, or a picture is not uint8 with three
            channels of at least 32 pixels a side.
        ImportError: When the first picture is corrupted, if ``imagecorruptions`` is missing.

    Examples:
        >>> corruption = dict(type='Corruption', corruption='fog', severity=3)
    """

    def __init__(self, corruption: str, severity: int = 1, seed: int = 0) -> None:
        check_corruption(corruption, severity, seed)
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def __call__(self, results: dict[str, Any]) -> Optional[dict[str, Any]]:
        """Corrupts ``results['img']`` (BGR, as MMCV reads it); ``None`` stays ``None``."""
        if results is None or self.severity == 0:
            return results
        name = os.path.basename(str(results.get('img_path') or results.get('img_id') or ''))
        if not name:
            raise ValueError('Corruption needs img_path or img_id, from which it seeds its noise')
        seed = image_seed(name, self.corruption, self.severity, self.seed)
        try:
            changed = corrupt(results['img'][..., ::-1], self.corruption, self.severity, seed)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        results['img'] = changed[..., ::-1].copy()
        return results

    def __repr__(self) -> str:
        return f'Corruption({", ".join(f"{name}={value!r}" for name, value in vars(self).items())})'


def insert_corruption(
    dataset: dict[str, Any], corruption: str, severity: int, seed: int = 0
) -> dict[str, Any]:
    """Puts a corruption right behind the loader of every pipeline of a dataset, in place.

    The dataset is a config, also of one that wraps others; it is returned. A ValueError if no
    pipeline reads a picture, or one has a corruption already.
    """
    check_corruption(corruption, severity, seed)
    new = dict(type='Corruption', corruption=corruption, severity=severity, seed=seed)
    found = False
    for _, one in every_dataset(dataset):
        pipeline = one.get('pipeline') or []
        kinds = [type_name(step) for step in pipeline]
        if 'Corruption' in kinds:
            raise ValueError('the test pipeline has a Corruption already')
        if 'LoadImageFromFile' in kinds:
            place = kinds.index('LoadImageFromFile') + 1
            one['pipeline'] = [*pipeline[:place], dict(new), *pipeline[place:]]
            found = True
    if not found:
        raise ValueError(
            f'no pipeline of the dataset {type_name(dataset)!r} has a LoadImageFromFile, behind '
            'which a corruption could be put'
        )
    return dataset
