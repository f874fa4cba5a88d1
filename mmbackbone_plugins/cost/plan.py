"""The bill of a whole run, before it starts: what trains in each phase and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from torch import Tensor, nn

from ..freezing.freezer import Freezer
from ..freezing.phases import Phase, phases
from ..freezing.schedules import FreezingSchedule
from .flops import StepFlops, training_flops


@dataclass(frozen=True)
class RunPlan:
    """What a schedule trains when, and the FLOPs of a step in each of its phases.

    Attributes:
        schedule: The schedule, as text.
        unit: ``'epoch'`` or ``'iteration'``, the unit of the phases.
        phases: The phases in order; together they cover the run.
        parameters: Number of parameters of the model.
        trainable: Number of parameters that train, by set of stages.
        ever_trainable: Number of parameters that train in one phase or more.
        flops: FLOPs for one image, by set of stages.
        full: The set of all stages, whose entries are those of full fine-tuning. What the model
            keeps frozen by itself is frozen there too.
    """

    schedule: str
    unit: str
    phases: tuple[Phase, ...]
    parameters: int
    trainable: dict[frozenset[str], int]
    ever_trainable: int
    flops: dict[frozenset[str], StepFlops]
    full: frozenset[str]

    @property
    def length(self) -> int:
        """Length of the run in units."""
        return self.phases[-1].end

    @property
    def training_flops(self) -> int:
        """FLOPs of the run for one image a unit; times the images in an epoch for all of it."""
        return sum(p.length * self.flops[p.trainable].total for p in self.phases)

    @property
    def full_training_flops(self) -> int:
        """The same for full fine-tuning."""
        return self.length * self.flops[self.full].total

    @property
    def saving(self) -> float:
        """Share of the FLOPs of full fine-tuning that the schedule saves, from 0 to 1."""
        return 1 - self.training_flops / self.full_training_flops

    @property
    def uncounted_ops(self) -> dict[str, int]:
        """Calls of operators without a formula: the most that any of the counted steps had."""
        found: dict[str, int] = {}
        for step in self.flops.values():
            for name, calls in step.uncounted.items():
                found[name] = max(calls, found.get(name, 0))
        return found


def plan_run(
    model: nn.Module,
    inputs: Tensor,
    data_samples: list[Any],
    freezer: Freezer,
    schedule: FreezingSchedule,
    length: int,
    report: Optional[Callable[[int, int], None]] = None,
) -> RunPlan:
    """Counts a step of each distinct phase of a schedule, and one of full fine-tuning.

    Args:
        model: The detector; left as it was.
        inputs: A batch of images, (N, C, H, W), normalised.
        data_samples: Their N data samples with ground truth.
        freezer: The freezer over the model's target.
        schedule: The schedule.
        length: Length of the run in the schedule's unit.
        report: Called with the number of steps counted and of all to count, for a progress bar.

    Returns:
        The plan; its FLOPs are for one image.
    """
    return plan_runs(model, inputs, data_samples, freezer, [schedule], length, report)[0]


def plan_runs(
    model: nn.Module,
    inputs: Tensor,
    data_samples: list[Any],
    freezer: Freezer,
    schedules: Sequence[FreezingSchedule],
    length: int,
    report: Optional[Callable[[int, int], None]] = None,
    unit: Optional[str] = None,
    freeze_blocks: bool = False,
) -> list[RunPlan]:
    """Plans several schedules for one model; steps that they share are counted once.

    Args:
        model: See :func:`plan_run`, as are those not named here.
        inputs: Batch of images.
        data_samples: Their data samples.
        freezer: The freezer.
        schedules: The schedules.
        length: Length of the run.
        report: Called as steps are counted.
        unit: Unit of the length, for schedules that count nothing; by default the schedule's.
        freeze_blocks: Whether the schedules rule over added blocks as well.

    Returns:
        A plan per schedule.
    """
    names = freezer.stage_map.names
    ruled = [s.name for s in freezer.stage_map if freeze_blocks or not s.is_block]
    free = frozenset(names) - frozenset(ruled)
    spans = [
        tuple(Phase(p.start, p.end, p.trainable | free) for p in phases(schedule, ruled, length))
        for schedule in schedules
    ]
    full = frozenset(names)
    distinct = list(dict.fromkeys([*(p.trainable for span in spans for p in span), full]))
    training: dict[frozenset[str], dict[int, int]] = {}
    flops: dict[frozenset[str], StepFlops] = {}
    counted: dict[frozenset[int], StepFlops] = {}
    try:
        for number, stages in enumerate(distinct):
            freezer.apply(stages)
            model.train()
            freezer.apply_modes()
            training[stages] = {id(p): p.numel() for p in model.parameters() if p.requires_grad}
            # Sets that differ only in what the model keeps frozen by itself are one step.
            key = frozenset(training[stages])
            if key not in counted:
                step = training_flops(model, inputs, data_samples)
                counted[key] = step.per_image(len(inputs))
            flops[stages] = counted[key]
            if report:
                report(number + 1, len(distinct))
    finally:
        freezer.restore()
    plans = []
    for schedule, span in zip(schedules, spans):
        sets = dict.fromkeys([*(p.trainable for p in span), full])
        ever = {key: size for p in span for key, size in training[p.trainable].items()}
        plans.append(
            RunPlan(
                schedule=repr(schedule),
                unit=unit or schedule.unit,
                phases=span,
                parameters=sum(p.numel() for p in model.parameters()),
                trainable={stages: sum(training[stages].values()) for stages in sets},
                ever_trainable=sum(ever.values()),
                flops={stages: flops[stages] for stages in sets},
                full=full,
            )
        )
    return plans
