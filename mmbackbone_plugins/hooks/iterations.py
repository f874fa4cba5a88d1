"""What a loop of iterations reads from, where a hook has changed its loader."""

from collections.abc import Iterator
from typing import Any

from mmengine.runner.loops import _InfiniteDataloaderIterator


def read_on(loop: Any, batches: Iterator[Any], past: int) -> None:
    """Lets a loop read from batches that begin where the run is, after ``past`` others.

    Its own iterator was made before, or reads from the loader as it was. On its way to where a
    resumed run is, an earlier mmengine asks for every batch and throws it away.
    """
    skips = hasattr(_InfiniteDataloaderIterator, 'skip_iter')
    loop.dataloader_iterator = _Endless(batches, 0 if skips else past)


class _Endless:
    def __init__(self, batches: Iterator[Any], past: int) -> None:
        self._batches, self._past = batches, past

    def __iter__(self) -> '_Endless':
        return self

    def __next__(self) -> Any:
        if self._past:
            self._past -= 1
            return None
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """The batches begin after these already."""
