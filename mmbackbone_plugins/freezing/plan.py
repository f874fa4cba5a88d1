"""A schedule over the stages of a target: what trains when."""

from dataclasses import dataclass, replace
from functools import cached_property

from ..stages import StageMap
from .phases import Phase, phases
from .schedules import FreezingSchedule


@dataclass(frozen=True)
class FreezePlan:
    """What trains at a time, and in which phases a run falls.

    Attributes:
        schedule: The schedule.
        stage_map: The stages of the target.
        freeze_blocks: Whether the schedule rules over added blocks (SE, adapters) as well; they
            train at all times otherwise.

    Examples:
        >>> from mmbackbone_plugins import FreezePlan, Stage, StageMap, StepFreezing
        >>> stages = [Stage('stage1', ('w',), ()), Stage('stage1.block', ('b',), (), is_block=True)]
        >>> plan = FreezePlan(StepFreezing(2), StageMap(stages))
        >>> sorted(plan.trainable(epoch=0, iteration=0))
        ['stage1', 'stage1.block']
        >>> sorted(plan.trainable(epoch=1, iteration=10))
        ['stage1.block']
    """

    schedule: FreezingSchedule
    stage_map: StageMap
    freeze_blocks: bool = False

    @cached_property
    def ruled(self) -> tuple[str, ...]:
        """The stages that the schedule rules over, from input to output."""
        return tuple(s.name for s in self.stage_map if self.freeze_blocks or not s.is_block)

    @cached_property
    def free(self) -> frozenset[str]:
        """The stages that train whatever the schedule says."""
        return frozenset(self.stage_map.names) - frozenset(self.ruled)

    def trainable(self, epoch: int, iteration: int) -> frozenset[str]:
        """The stages that train at a time, both counted from 0."""
        return self.schedule.trainable(epoch, iteration, self.ruled) | self.free

    def phases(self, length: int) -> tuple[Phase, ...]:
        """The phases of a run of ``length`` units of the schedule, in order; they cover it."""
        found = phases(self.schedule, self.ruled, length)
        return tuple(replace(phase, trainable=phase.trainable | self.free) for phase in found)
