"""Decide how much the pre-trained backbone of a detector moves while it is fine-tuned.

Importing the package registers its hooks and schedules, so that one line in a config suffices:
``custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)``.
"""

import sys

from . import moved
from .compat import check_versions
from .version import __version__

try:
    check_versions()
except ImportError as error:
    if sys.argv[:1] != ['-m']:
        raise
    # Python is locating `python -m mmbackbone_plugins`, and imports this file first. The report
    # has to come all the same.
    from .__main__ import main

    sys.exit(main(error))

moved.install()

# Only now: these import mmengine, and the check above explains what is missing.
from .cost import training_flops
from .distortion import (
    add_penalty_gradient,
    estimate_importance,
    interpolate,
    relative_gradient_norm,
)
from .freezing import (
    BudgetedFreezing,
    FreezeFromInput,
    FreezePlan,
    Freezer,
    FreezeStatus,
    FreezingSchedule,
    FrozenBackbone,
    FrozenForward,
    FullTraining,
    GradualUnfreezing,
    MilestoneFreezing,
    ProbeThenFinetune,
    StepFreezing,
    build_schedule,
)
from .hooks import (
    DistortionRegularizerHook,
    DriftHook,
    EigenspectrumHook,
    FeatureCacheHook,
    FreezingSchedulerHook,
    RandomStateHook,
    RGNHook,
    RGNLearningRateHook,
    TrainingCostHook,
    WeightProjectionHook,
)
from .hooks.stage_groups import StageOptimWrapperConstructor
from .metrics import Corruption, OrientedMetric
from .models import (
    Mona,
    ResidualAdapter,
    SEBlock,
    SimpleFeaturePyramid,
    StageBlockBackbone,
    StageOutput,
    stage_output_rule,
)
from .models import __getattr__ as __getattr__  # for classes that import mmdet
from .registry import FREEZING_SCHEDULES
from .spectra import (
    SecondMoment,
    collect_moments,
    determine_widths,
    eigenspectrum,
    intrinsic_dimensionality,
)
from .stages import Stage, StageMap, stage_rule

__all__ = [
    'BudgetedFreezing',
    'Corruption',
    'DistortionRegularizerHook',
    'DriftHook',
    'EfficientNetLite',
    'EigenspectrumHook',
    'FREEZING_SCHEDULES',
    'FeatureCacheHook',
    'FreezeFromInput',
    'FreezePlan',
    'FreezeStatus',
    'Freezer',
    'FrozenForward',
    'FreezingSchedule',
    'FreezingSchedulerHook',
    'FrozenBackbone',
    'FullTraining',
    'GradualUnfreezing',
    'MilestoneFreezing',
    'Mona',
    'OrientedMetric',
    'ProbeThenFinetune',
    'RGNHook',
    'RGNLearningRateHook',
    'RandomStateHook',
    'ResidualAdapter',
    'SEBlock',
    'SecondMoment',
    'SimpleFeaturePyramid',
    'Stage',
    'StageBlockBackbone',
    'StageMap',
    'StageOptimWrapperConstructor',
    'StageOutput',
    'StepFreezing',
    'WidthResNet',
    'TrainingCostHook',
    'WeightProjectionHook',
    '__version__',
    'add_penalty_gradient',
    'build_schedule',
    'collect_moments',
    'determine_widths',
    'eigenspectrum',
    'estimate_importance',
    'interpolate',
    'intrinsic_dimensionality',
    'relative_gradient_norm',
    'stage_output_rule',
    'stage_rule',
    'training_flops',
]
