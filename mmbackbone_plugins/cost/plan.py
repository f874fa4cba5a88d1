"""The bill of a whole run, before it starts: what trains in each phase and what that costs."""

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
        flops: FLOPs for one image, by set of stages.
        full: The set of all stages, whose entries are those of full fine-tuning. What the model
            keeps frozen by itself is frozen there too.
    """

    schedule: str
    unit: str
    phases: tuple[Phase, ...]
    parameters: int
    trainable: dict[frozenset[str], int]
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
    names = freezer.stage_map.names
    ruled = [s.name for s in freezer.stage_map if not s.is_block]
    blocks = frozenset(names) - frozenset(ruled)
    spans = tuple(
        Phase(p.start, p.end, p.trainable | blocks) for p in phases(schedule, ruled, length)
    )
    full = frozenset(names)
    distinct = list(dict.fromkeys([*(p.trainable for p in spans), full]))
    trainable, flops = {}, {}
    counted: dict[frozenset[int], StepFlops] = {}
    try:
        for number, stages in enumerate(distinct):
            freezer.apply(stages)
            model.train()
            freezer.apply_modes()
            trainable[stages] = freezer.status().trainable_parameters
            # Sets that differ only in what the model keeps frozen by itself are one step.
            key = frozenset(id(p) for p in model.parameters() if p.requires_grad)
            if key not in counted:
                counted[key] = training_flops(model, inputs, data_samples).per_image(len(inputs))
            flops[stages] = counted[key]
            if report:
                report(number + 1, len(distinct))
    finally:
        freezer.restore()
    parameters = sum(p.numel() for p in model.parameters())
    return RunPlan(repr(schedule), schedule.unit, spans, parameters, trainable, flops, full)

