"""MMEngine hooks: thin adapters that decide when; the mathematics is in the other packages."""

from .drift_hook import DriftHook
from .freezing_scheduler_hook import FreezingSchedulerHook
from .rgn_hook import RGNHook
from .training_cost_hook import TrainingCostHook

__all__ = ['DriftHook', 'FreezingSchedulerHook', 'RGNHook', 'TrainingCostHook']
