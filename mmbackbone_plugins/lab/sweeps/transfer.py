"""A detector of one data set on the pictures and labels of another."""

import copy
from collections.abc import Sequence
from typing import Any, Optional

from ...utils.datasets import innermost_datasets
from ...utils.names import type_name
from ..datasets.layouts import LAYOUTS


def other_data(
    loader: dict[str, Any], to: str, root: str, split: str, scale: Optional[Sequence[int]] = None
) -> dict[str, Any]:
    """A loader of another data set (``'dota'`` or ``'dior'``) with the pipeline of this one.

    ``scale``: width and height that pictures are resized into; default is the pipeline's own.

    Raises:
        ValueError: If ``to`` or ``split`` is unknown, or the pipeline has no ``Resize`` to scale.
    """
    if to not in LAYOUTS or split not in LAYOUTS[to]:
        raise ValueError(
            f'to must be one of {list(LAYOUTS)} and split one of {list(LAYOUTS["dota"])}, '
            f'got {to!r} and {split!r}'
        )
    pipeline = copy.deepcopy(innermost_datasets(loader['dataset'])[0][1]['pipeline'])
    if scale is not None:
        resizes = [step for step in pipeline if type_name(step) == 'Resize']
        if not resizes:
            raise ValueError('the test pipeline has no Resize, whose scale could be set')
        for step in resizes:
            step['scale'] = tuple(scale)
    moved = {k: v for k, v in copy.deepcopy(loader).items() if k != 'dataset'}
    moved['dataset'] = dict(
        copy.deepcopy(LAYOUTS[to][split]), data_root=root, test_mode=True, pipeline=pipeline
    )
    return moved
