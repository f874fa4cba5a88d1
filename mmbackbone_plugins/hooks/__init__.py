"""MMEngine hooks: thin adapters that decide when; the mathematics is in the other packages."""

from .distortion_regularizer_hook import DistortionRegularizerHook
from .drift_hook import DriftHook
from .eigenspectrum_hook import EigenspectrumHook
from .feature_cache_hook import FeatureCacheHook
from .freezing_scheduler_hook import FreezingSchedulerHook
from .random_state_hook import RandomStateHook
from .rgn_hook import RGNHook
from .rgn_learning_rate_hook import RGNLearningRateHook
from .training_cost_hook import TrainingCostHook
from .weight_projection_hook import WeightProjectionHook

__all__ = [
    'DistortionRegularizerHook',
    'DriftHook',
    'EigenspectrumHook',
    'FeatureCacheHook',
    'FreezingSchedulerHook',
    'RGNHook',
    'RGNLearningRateHook',
    'RandomStateHook',
    'TrainingCostHook',
    'WeightProjectionHook',
]
