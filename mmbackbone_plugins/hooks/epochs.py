"""When an epoch ends, for hooks that measure then."""

from typing import Optional

from mmengine.runner import IterBasedTrainLoop


def epoch_that_ends(runner, batch_idx: int, interval: int = 1) -> Optional[int]:
    """Number of the epoch that ends with this iteration and is to be measured.

    Asked in ``after_train_iter``, so that the epoch's last line of the log has what is measured. In
    an iteration loop an epoch is as many iterations as the training loader is long.

    Args:
        runner: The runner.
        batch_idx: As the hook was called with.
        interval: Epochs from one measurement to the next; the last epoch always counts.

    Returns:
        The number, from 1; None if no epoch ends or it is not to be measured.
    """
    length = len(runner.train_dataloader)
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        epoch = runner.epoch + 1
        ends = batch_idx + 1 == length
        last = epoch == runner.max_epochs
    else:
        epoch, rest = divmod(runner.iter + 1, length)
        last = runner.iter + 1 == runner.max_iters
        ends = rest == 0 or last
    return epoch if ends and (epoch % interval == 0 or last) else None
