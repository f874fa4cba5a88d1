"""Schedules that free or freeze one stage after the other."""

from collections.abc import Sequence
from typing import Union, cast

from ..registry import FREEZING_SCHEDULES
from .schedules import FreezingSchedule, Stages, check_time


class _Gradual(FreezingSchedule):
    """Counts the changes that are past: the first at ``start``, one more every ``every``."""

    times = ('start', 'every')

    def __init__(
        self, start: Union[int, float], every: Union[int, float], by_epoch: bool = True
    ) -> None:
        super().__init__(by_epoch)
        self.start = cast(int, check_time('start', start, 0, 'an integer from 0'))
        self.every = cast(int, check_time('every', every, 1, 'a positive integer'))

    def changes(self, time: int) -> int:
        return 0 if time < self.start else (time - self.start) // self.every + 1

    def milestones_past(self, end: int) -> Sequence[int]:
        return [self.start] if self.start >= end else []


@FREEZING_SCHEDULES.register_module()
class GradualUnfreezing(_Gradual):
    """Nothing trains before epoch ``start``; then the deepest stage, and more towards the input.

    Args:
        start: The epoch at which the deepest stage begins to train, from 0.
        every: Epochs between one stage and the next, from 1.
        by_epoch: Count epochs or iterations.

    Raises:
        ValueError: If ``start`` is not an integer from 0 or ``every`` not one from 1.

    Examples:
        >>> from mmbackbone_plugins import GradualUnfreezing
        >>> schedule = GradualUnfreezing(start=1, every=2)
        >>> [sorted(schedule.trainable(epoch, 0, ['stage1', 'stage2'])) for epoch in range(4)]
        [[], ['stage2'], ['stage2'], ['stage1', 'stage2']]
    """

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages[max(len(stages) - self.changes(time), 0) :]


@FREEZING_SCHEDULES.register_module()
class FreezeFromInput(_Gradual):
    """Everything trains before epoch ``start``; then stages freeze, the nearest the input first.

    Args:
        start: The epoch at which the first stage freezes, from 0.
        every: Epochs between one stage and the next, from 1.
        by_epoch: Count epochs or iterations.

    Raises:
        ValueError: If ``start`` is not an integer from 0 or ``every`` not one from 1, and neither a
            share of the run.

    Source:
        The order of FreezeOut (arXiv 1706.04983) and of ``LayerFreezing`` in composer.

    Examples:
        >>> from mmbackbone_plugins import FreezeFromInput
        >>> schedule = FreezeFromInput(start=1, every=2)
        >>> [sorted(schedule.trainable(epoch, 0, ['stage1', 'stage2'])) for epoch in range(4)]
        [['stage1', 'stage2'], ['stage2'], ['stage2'], []]
    """

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages[self.changes(time) :]
