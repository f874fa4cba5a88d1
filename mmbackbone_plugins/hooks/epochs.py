"""Base of the hooks that measure at the end of epochs."""

from typing import Any, Optional

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop


class EpochHook(Hook):
    """Measures at the end of every ``interval``-th epoch, and of the last one of the run.

    In an iteration loop an epoch is as many iterations as the training loader is long; the last may
    be cut.
    """

    priority = 'NORMAL'  # before LoggerHook, so that the epoch's last line has the scalars
    interval: int
    _measured: Optional[int] = None  # iterations done then; None: this process does not measure

    def _record(self, runner: Any, epoch: int, iteration: int) -> None:
        """Measures; both numbers count from 1, and are 0 before the first step."""
        raise NotImplementedError

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._measured is None:
            return
        length, done = len(runner.train_dataloader), runner.iter + 1
        if _by_iter(runner):
            epoch, last = done // length, done == runner.max_iters
            ends = done % length == 0 or last
        else:
            past = getattr(runner.train_dataloader.batch_sampler, 'past', 0)  # of a cut epoch
            epoch, ends = runner.epoch + 1, past + batch_idx + 1 == length
            last = epoch == runner.max_epochs
        if ends and (epoch % self.interval == 0 or last):
            self._measured = done
            self._record(runner, epoch, done)

    def after_train(self, runner) -> None:
        """A run may be stopped (``EarlyStoppingHook``), which nobody knows when that epoch ends."""
        if self._measured not in (None, runner.iter):
            self._measured = runner.iter
            by_iter = runner.iter // len(runner.train_dataloader)
            self._record(runner, by_iter if _by_iter(runner) else runner.epoch, runner.iter)


def _by_iter(runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)
