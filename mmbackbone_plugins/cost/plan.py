"""What a whole run will cost, before it starts: what trains in each phase, and its FLOPs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any, Callable, Optional

from torch import Tensor, nn

from ..freezing.budget import EpochBudget
from ..freezing.freezer import Freezer
from ..freezing.phases import Phase
from ..freezing.plan import FreezePlan
from .flops import StepFlops, training_flops

Stages = frozenset[str]


@dataclass(frozen=True)
class RunPlan:
    """What a schedule trains when, and the FLOPs of a step in each of its phases."""

    schedule: str
    unit: str  # ``'epoch'`` or ``'iteration'``, of the phases
    phases: tuple[Phase, ...]  # in order; together they cover the run
    parameters: int  # of the model
    trainable: dict[Stages, int]  # number of parameters that train, by set of stages
    ever_trainable: int  # number of those that train in one phase or more
    flops: dict[Stages, StepFlops]  # for one image, by set of stages
    full: Stages  # all: full fine-tuning, but for what the model keeps frozen by itself
    spared_flops: int = 0  # for one image a unit, of forward passes that a feature cache spares
    budget: Optional[float] = None  # of a schedule that decides: share of full fine-tuning

    @property
    def length(self) -> int:
        """Length of the run in units."""
        return self.phases[-1].end

    @property
    def training_flops(self) -> int:
        """FLOPs of the run for one image a unit; times the images in an epoch for all of it.

        Of a schedule that decides, the most that it may spend.
        """
        if self.budget is not None:
            return int(self.budget * self.full_training_flops)
        found = sum(p.length * self.flops[p.trainable].total for p in self.phases)
        return found - self.spared_flops

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
        found = (Counter(step.uncounted) for step in self.flops.values())
        return dict(reduce(or_, found, Counter()))


def plan_runs(
    model: nn.Module,
    batch: tuple[Tensor, list[Any]],
    freezer: Freezer,
    plans: Sequence[FreezePlan],
    length: int,
    report: Optional[Callable[[int, int], None]] = None,
) -> list[RunPlan]:
    """Counts a step of each distinct phase of some schedules, and one of full fine-tuning.

    The batch is as :func:`training_flops` takes it; FLOPs are for one image. The model is left as
    it was. ``report`` is called with the number of steps counted and of all to count.
    """
    full = frozenset(freezer.stage_map.names)
    spans = [plan.phases(length) for plan in plans]
    distinct = dict.fromkeys([*(p.trainable for span in spans for p in span), full])
    training, flops = count_steps(model, batch, freezer, list(distinct), report)
    size = sum(p.numel() for p in model.parameters())
    runs = []
    for plan, span in zip(plans, spans):
        sets = dict.fromkeys([*(p.trainable for p in span), full])
        ever = {key: size for p in span for key, size in training[p.trainable].items()}
        runs.append(
            RunPlan(
                schedule=repr(plan.schedule),
                unit=plan.schedule.unit,
                phases=span,
                parameters=size,
                trainable={stages: sum(training[stages].values()) for stages in sets},
                ever_trainable=sum(ever.values()),
                flops={stages: flops[stages] for stages in sets},
                full=full,
                budget=_checked_budget(plan, flops, length) if plan.schedule.decides else None,
            )
        )
    return runs


def _checked_budget(plan: FreezePlan, flops: dict[Stages, StepFlops], length: int) -> float:
    """The budget of a schedule that decides, if it pays for a frozen run."""
    schedule: Any = plan.schedule
    costs = [flops[phase.trainable].total for phase in reversed(plan.phases(length))]
    EpochBudget(list(accumulate(costs, max)), schedule.budget, length)
    return schedule.budget


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
