"""The bill of a whole run, before it starts: what trains in each phase and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from torch import Tensor, nn

from ..freezing.freezer import Freezer
from ..freezing.phases import Phase
from ..freezing.plan import FreezePlan
from .flops import StepFlops, training_flops

Stages = frozenset[str]


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
    trainable: dict[Stages, int]
    ever_trainable: int
    flops: dict[Stages, StepFlops]
    full: Stages

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


def plan_runs(
    model: nn.Module,
    batch: tuple[Tensor, list[Any]],
    freezer: Freezer,
    plans: Sequence[FreezePlan],
    length: int,
    report: Optional[Callable[[int, int], None]] = None,
) -> list[RunPlan]:
    """Counts a step of each distinct phase of some schedules, and one of full fine-tuning.

    Args:
        model: The detector; left as it was.
        batch: Images, (N, C, H, W), normalised, and their N data samples with ground truth.
        freezer: The freezer over the model's target.
        plans: The schedules over the stages of the target; steps that they share are counted once.
        length: Length of the run in the unit of the schedules.
        report: Called with the number of steps counted and of all to count, for a progress bar.

    Returns:
        A plan per schedule; its FLOPs are for one image.
    """
    full = frozenset(freezer.stage_map.names)
    spans = [plan.phases(length) for plan in plans]
    distinct = dict.fromkeys([*(p.trainable for span in spans for p in span), full])
    training, flops = count_steps(model, batch, freezer, list(distinct), report)
    runs = []
    for plan, span in zip(plans, spans):
        sets = dict.fromkeys([*(p.trainable for p in span), full])
        ever = {key: size for p in span for key, size in training[p.trainable].items()}
        runs.append(
            RunPlan(
                schedule=repr(plan.schedule),
                unit=plan.schedule.unit,
                phases=span,
                parameters=sum(p.numel() for p in model.parameters()),
                trainable={stages: sum(training[stages].values()) for stages in sets},
                ever_trainable=sum(ever.values()),
                flops={stages: flops[stages] for stages in sets},
                full=full,
            )
        )
    return runs


def count_steps(
    model: nn.Module,
    batch: tuple[Tensor, list[Any]],
    freezer: Freezer,
    sets: Sequence[Stages],
    report: Optional[Callable[[int, int], None]] = None,
) -> tuple[dict[Stages, dict[int, int]], dict[Stages, StepFlops]]:
    """By set of stages: sizes of the parameters that train, and FLOPs for one image."""
    training: dict[Stages, dict[int, int]] = {}
    counted: dict[frozenset[int], StepFlops] = {}
    try:
        for number, stages in enumerate(sets, start=1):
            freezer.apply(stages)
            model.train()
            freezer.apply_modes()
            training[stages] = {id(p): p.numel() for p in model.parameters() if p.requires_grad}
            # Sets that differ only in what the model keeps frozen by itself are one step.
            key = frozenset(training[stages])
            if key not in counted:
                counted[key] = training_flops(model, *batch).per_image(len(batch[0]))
            if report:
                report(number, len(sets))
    finally:
        freezer.restore()
    return training, {stages: counted[frozenset(held)] for stages, held in training.items()}
