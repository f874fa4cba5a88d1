"""When an epoch ends, for hooks that measure then."""

from typing import Optional

from mmengine.runner import IterBasedTrainLoop


class EpochEnds:
    """Which epochs a hook measures: every ``interval``-th, and the last of the run.

    In an iteration loop an epoch is as many iterations as the training loader is long; the last may
    be cut.

    Args:
        runner: The runner, in ``before_train``.
        interval: Epochs from one measurement to the next.
    """

    def __init__(self, runner, interval: int = 1) -> None:
        self._interval = interval
        self._length = len(runner.train_dataloader)
        self._by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        self._measured = runner.iter

    def after_iter(self, runner, batch_idx: int) -> Optional[int]:
        """Number of the epoch that ends with this iteration and is to be measured now.

        Asked in ``after_train_iter``, so that the epoch's last line of the log has what is
        measured.

        Returns:
            The number, from 1; None if no epoch ends or it is not to be measured.
        """
        if self._by_iter:
            epoch, rest = divmod(runner.iter + 1, self._length)
            last = runner.iter + 1 == runner.max_iters
            ends = rest == 0 or last
        else:
            epoch = runner.epoch + 1
            ends = batch_idx + 1 == self._length
            last = epoch == runner.max_epochs
        if not ends or not (epoch % self._interval == 0 or last):
            return None
        self._measured = runner.iter + 1
        return epoch

    def after_train(self, runner) -> Optional[int]:
        """Number of the epoch that turned out to be the last, if it has not been measured.

        A run may be stopped (``EarlyStoppingHook``), which nobody knows when that epoch ends.

        Returns:
            The number, from 1; None if the weights have been measured as they are.
        """
        if runner.iter == self._measured:
            return None
        self._measured = runner.iter
        return runner.iter // self._length if self._by_iter else runner.epoch
