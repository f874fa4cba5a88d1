"""A schedule over the stages of a target: what trains when."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from ..stages import Stage, StageMap
from .freezer import is_norm
from .phases import Phase, phases
from .schedules import FreezingSchedule

# Stages of parameters that train in every phase.
KEPT, UNLOADED = 'keep_trainable', 'unloaded'


@dataclass(frozen=True)
class FreezePlan:
    """What trains at a time, and in which phases a run falls.

    Attributes:
        schedule: The schedule.
        stage_map: The stages of the target.
        freeze_blocks: Whether the schedule rules over added blocks (SE, adapters) as well; they
            train at all times otherwise.
        always: Names of other stages that train at all times.

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
    always: frozenset[str] = frozenset()

    @cached_property
    def ruled(self) -> tuple[str, ...]:
        """The stages that the schedule rules over, from input to output."""
        ruled = (s for s in self.stage_map if self.freeze_blocks or not s.is_block)
        return tuple(s.name for s in ruled if s.name not in self.always)

    @cached_property
    def free(self) -> frozenset[str]:
        """The stages that train whatever the schedule says."""
        return frozenset(self.stage_map.names) - frozenset(self.ruled)

    @property
    def changing(self) -> list[Stage]:
        """The stages but those that :meth:`keep` and :meth:`release` have set apart."""
        return [stage for stage in self.stage_map if stage.name not in self.always]

    def trainable(self, epoch: int, iteration: int) -> frozenset[str]:
        """The stages that train at a time, both counted from 0."""
        return self.schedule.trainable(epoch, iteration, self.ruled) | self.free

    def phases(self, length: int) -> tuple[Phase, ...]:
        """The phases of a run of ``length`` units of the schedule, in order; they cover it.

        Of a schedule that is yet to decide, every set of stages that it may choose, each over the
        whole run.
        """
        if self.schedule.decides:
            found = [Phase(0, length, chosen) for chosen in self.schedule.possible(self.ruled)]
        else:
            found = list(phases(self.schedule, self.ruled, length))
        return tuple(replace(phase, trainable=phase.trainable | self.free) for phase in found)

    def keep(self, model: nn.Module, patterns: Sequence[str]) -> 'FreezePlan':
        """The same, but that parameters of the target with these names train at all times.

        They become a stage, ``keep_trainable``. So do the norm layers that hold one, which have
        the mode of what trains; other layers have that of the stage that they are in. Patterns are
        regular expressions, searched for in names that begin with the target's or in the target. A
        ValueError if nothing matches one, or all that does is kept frozen by the model itself.
        """
        found: set[str] = set()
        trains = {name: p.requires_grad for name, p in model.named_parameters()}
        for pattern in patterns:
            hits = [n for n in self.stage_map.parameters if self._matches(pattern, n)]
            if not any(trains[n] for n in hits):
                names = ', '.join(self.stage_map.parameters[:3])
                raise ValueError(
                    f'keep_trainable: {pattern!r} matches no parameter of the target '
                    f'{" or ".join(map(repr, self.stage_map.targets))}; names are such as {names}'
                    if not hits
                    else f'keep_trainable: all that {pattern!r} matches is kept frozen by the '
                    f'model itself, {hits[0]!r} say (frozen_stages, norm_cfg?), and that holds in '
                    'every phase'
                )
            found.update(hits)
        ruled = {n for stage in self.ruled for n in self.stage_map[stage].parameters}
        return self._set_apart(KEPT, model, found & ruled, whole=False)

    def release(self, model: nn.Module, names: Collection[str]) -> 'FreezePlan':
        """The same, but that these parameters, which no file has filled, train at all times.

        They become a stage, ``unloaded``, with all modules that hold nothing else.
        """
        return self._set_apart(UNLOADED, model, set(names), whole=True)

    def _matches(self, pattern: str, name: str) -> bool:
        inside = (name.removeprefix(f'{t}.') for t in self.stage_map.targets if t)
        return any(re.search(pattern, n) for n in (name, *inside))

    def _set_apart(
        self, stage: str, model: nn.Module, names: set[str], whole: bool
    ) -> 'FreezePlan':
        if not names:
            return self
        modules: set[str] = set()
        found = dict(model.named_modules())
        for path in self.stage_map.modules:
            start = f'{path}.'.lstrip('.')
            held = {f'{start}{n}' for n, _ in found[path].named_parameters()}
            if whole and held and held <= names:
                modules.update(f'{start}{n}'.rstrip('.') for n, _ in found[path].named_modules())
            elif is_norm(found[path]) and held & names:
                modules.add(path)
        stage_map = self.stage_map.set_apart(stage, names, modules)
        return replace(self, stage_map=stage_map, always=self.always | {stage})
