"""What a run costs."""

from .flops import StepFlops, training_flops
from .plan import RunPlan, plan_run

__all__ = ['RunPlan', 'StepFlops', 'plan_run', 'training_flops']
