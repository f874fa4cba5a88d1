"""What trains in a run: the one question that hooks ask each other."""

from dataclasses import dataclass
from typing import Optional

from ..cost.naming import first_training
from ..freezing.phases import Phase, ever_trained
from ..freezing.plan import FreezePlan
from ..utils.wrappers import unwrap
from .freezing_scheduler_hook import FreezingSchedulerHook
from .runners import held_by, optim_wrappers


@dataclass(frozen=True)
class TrainingSet:
    """What trains in a run."""

    # Names of the parameters that train at some time: that require a gradient now, or that a
    # freezing schedule has frozen for the time being. What the model keeps frozen by itself
    # (``frozen_stages``) is not among them, nor what no optimizer holds.
    ever: frozenset[str]
    plan: Optional[FreezePlan] = None  # the freezing schedule over its stages, if there is one
    phases: tuple[Phase, ...] = ()

    @property
    def begins(self) -> Optional[int]:
        """When the schedule first trains something, in its unit; None if never."""
        return first_training(self.phases, self.plan.ruled) if self.plan else None


def what_trains(runner) -> TrainingSet:
    """What trains in a run; after ``before_train`` of :class:`FreezingSchedulerHook`."""
    model = unwrap(runner.model)
    found = {id(p) for p in model.parameters() if p.requires_grad}
    plan: Optional[FreezePlan] = None
    phases: tuple[Phase, ...] = ()
    for hook in runner.hooks:
        if isinstance(hook, FreezingSchedulerHook) and hook.freezer is not None:
            plan, phases = hook.plan, hook.phases
            # A stage that trains now and never again is in the next line.
            found -= {id(p) for p in hook.freezer.parameters_of(hook.freezer.stage_map.names)}
            found |= {id(p) for p in hook.freezer.parameters_of(ever_trained(phases))}
    found &= set().union(*(held_by(wrapper) for _, wrapper in optim_wrappers(runner)))
    ever = frozenset(n for n, p in model.named_parameters() if id(p) in found)
    return TrainingSet(ever, plan, phases)
