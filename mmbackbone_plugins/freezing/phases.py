"""Phases: a run divided into spans in which the same stages train."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from .schedules import FreezingSchedule, Stages


@dataclass(frozen=True)
class Phase:
    """A span in which the same stages train."""

    start: int  # first epoch (or iteration)
    end: int  # one past its last
    trainable: frozenset[str]  # the stages that train

    @property
    def length(self) -> int:
        return self.end - self.start


def phases(schedule: FreezingSchedule, stages: Stages, end: int) -> Iterator[Phase]:
    """Divides a run of ``end`` units of the schedule into phases, in order, which cover it."""
    sets = (schedule.trainable(time, time, stages) for time in range(end))
    start = 0
    for trainable, times in groupby(sets):
        length = sum(1 for _ in times)
        yield Phase(start, start + length, trainable)
        start += length


def ever_trained(found: Iterable[Phase]) -> frozenset[str]:
    """The stages that train in one phase or more."""
    return frozenset().union(*(phase.trainable for phase in found))
