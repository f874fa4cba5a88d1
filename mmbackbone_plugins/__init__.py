"""Decide how much the pre-trained backbone of a detector moves while it is fine-tuned.

Importing the package registers its hooks and schedules, so that one line in a config suffices:
``custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)``.
"""

from .compat import check_versions
from .version import __version__

check_versions()

# Only now: these import mmengine, and the check above explains what is missing.
from .cost import training_flops  # noqa: E402
from .distortion import relative_gradient_norm  # noqa: E402
from .freezing import (  # noqa: E402
    Freezer,
    FreezeStatus,
    FreezingSchedule,
    FrozenBackbone,
    FullTraining,
    GradualUnfreezing,
    MilestoneFreezing,
    ProbeThenFinetune,
    StepFreezing,
    build_schedule,
)
from .hooks import (  # noqa: E402
    DriftHook,
    FreezingSchedulerHook,
    RGNHook,
    TrainingCostHook,
)
from .registry import FREEZING_SCHEDULES  # noqa: E402
from .stages import Stage, StageMap, stage_rule  # noqa: E402

__all__ = [
    'DriftHook',
    'FREEZING_SCHEDULES',
    'FreezeStatus',
    'Freezer',
    'FreezingSchedule',
    'FreezingSchedulerHook',
    'FrozenBackbone',
    'FullTraining',
    'GradualUnfreezing',
    'MilestoneFreezing',
    'ProbeThenFinetune',
    'RGNHook',
    'Stage',
    'StageMap',
    'StepFreezing',
    'TrainingCostHook',
    '__version__',
    'build_schedule',
    'relative_gradient_norm',
    'stage_rule',
    'training_flops',
]
