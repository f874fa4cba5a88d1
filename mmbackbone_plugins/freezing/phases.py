"""Phases: a run divided into spans in which the same stages train."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .schedules import FreezingSchedule, Stages


@dataclass(frozen=True)
class Phase:
    """A span in which the same stages train.

    Attributes:
        start: First epoch (or iteration) of the span.
        end: One past its last.
        trainable: The stages that train.
    """

    start: int
    end: int
    trainable: frozenset[str]

    @property
    def length(self) -> int:
        return self.end - self.start


def phases(schedule: FreezingSchedule, stages: Stages, end: int) -> Iterator[Phase]:
    """Divides a run into phases.

    Args:
        schedule: The schedule.
        stages: Stage names, ordered from input to output.
        end: Length of the run, in the schedule's unit.

    Yields:
        The phases in order; together they cover ``0 .. end - 1``.
    """
    start, current = 0, None
    for time in range(end):
        trainable = schedule.trainable(time, time, stages)
        if trainable != current:
            if current is not None:
                yield Phase(start, time, current)
            start, current = time, trainable
    if current is not None:
        yield Phase(start, end, current)


def ever_trained(found: Iterable[Phase]) -> frozenset[str]:
    """The stages that train in one phase or more."""
    return frozenset().union(*(phase.trainable for phase in found))
