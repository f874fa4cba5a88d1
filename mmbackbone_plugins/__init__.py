"""Decide how much the pre-trained backbone of a detector moves while it is fine-tuned.

Importing the package registers its hooks and schedules, so that one line in a config suffices:
``custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)``.
"""

from .compat import check_versions
from .version import __version__

check_versions()

# Only now: these import mmengine, and the check above explains what is missing.
from .distortion import (  # noqa: E402
    add_penalty_gradient,
    estimate_importance,
    relative_gradient_norm,
)
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
    DistortionRegularizerHook,
    DriftHook,
    FreezingSchedulerHook,
    RGNHook,
)
from .models import (  # noqa: E402
    ResidualAdapter,
    SEBlock,
    StageBlockBackbone,
    StageOutput,
    stage_output_rule,
)
from .registry import FREEZING_SCHEDULES  # noqa: E402
from .stages import Stage, StageMap, stage_rule  # noqa: E402

__all__ = [
    'DistortionRegularizerHook',
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
    'ResidualAdapter',
    'SEBlock',
    'Stage',
    'StageBlockBackbone',
    'StageMap',
    'StageOutput',
    'StepFreezing',
    '__version__',
    'add_penalty_gradient',
    'build_schedule',
    'estimate_importance',
    'relative_gradient_norm',
    'stage_output_rule',
    'stage_rule',
]
