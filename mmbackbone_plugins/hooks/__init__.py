"""MMEngine hooks: thin adapters that decide when; the mathematics is in the other packages."""

from .drift_hook import DriftHook
from .eigenspectrum_hook import EigenspectrumHook
from .freezing_scheduler_hook import FreezingSchedulerHook
from .rgn_hook import RGNHook

__all__ = ['DriftHook', 'EigenspectrumHook', 'FreezingSchedulerHook', 'RGNHook']
