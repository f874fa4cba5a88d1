"""Says at which label a training ends, where MMRotate's own error does not."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from mmengine.dataset import BaseDataset

from .check import first_stop
from .layouts import split_of_dataset


class LabelError(ValueError):
    """A list or a label file that a data set cannot be built from; the message names the line."""


@contextmanager
def labels_explained() -> Iterator[None]:
    """Names the file and the line where building a data set of DOTA or DIOR-R fails.

    MMRotate raises ``KeyError: 'boat'`` or ``could not convert string to float: 'ship'``. The files
    are read once more, by the checker, as far as its first flaw.

    Raises:
        LabelError: In place of such an error, which is its cause. All others pass untouched.
    """
    try:
        yield
    except Exception as error:
        dataset = _half_built(error)
        message = None if dataset is None else _explain(dataset)
        if message is None:
            raise
        raise LabelError(message) from error


def _half_built(error: BaseException) -> Optional[BaseDataset]:
    """The data set whose files were being read when an error was raised."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        if frame.f_code.co_name == 'full_init' and isinstance(owner, BaseDataset):
            found = owner
    return found


def _explain(dataset: BaseDataset) -> Optional[str]:
    name = type(dataset).__name__
    try:
        split = split_of_dataset(dataset)
        flaw = split and first_stop(split)
    except ValueError as error:  # of its settings
        return f'{name}: {error}'
    if not flaw:
        return None
    detail = f': {flaw.detail}' if flaw.detail else ''
    return (
        f'{name} cannot read its labels: {flaw.where}: {flaw.kind}{detail} '
        '(tools/check_data.py CONFIG lists all there are)'
    )
