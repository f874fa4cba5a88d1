"""Decide how much the pre-trained backbone of a detector moves while it is fine-tuned.

Importing the package registers its hooks and schedules, so that one line in a config suffices:
``custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)``.
"""

from .compat import check_versions
from .version import __version__

check_versions()

# Only now: these import mmengine, and the check above explains what is missing.
from . import eigenspectrum, models  # noqa: E402
from .distortion import relative_gradient_norm  # noqa: E402
from .eigenspectrum import (  # noqa: E402
    SecondMoment,
    collect_moments,
    determine_widths,
    intrinsic_dimensionality,
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
from .hooks import DriftHook, EigenspectrumHook, FreezingSchedulerHook, RGNHook  # noqa: E402
from .registry import FREEZING_SCHEDULES  # noqa: E402
from .stages import Stage, StageMap, stage_rule  # noqa: E402

__all__ = [
    'DriftHook',
    'EigenspectrumHook',
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
    'SecondMoment',
    'Stage',
    'StageMap',
    'StepFreezing',
    'WidthResNet',
    '__version__',
    'build_schedule',
    'collect_moments',
    'determine_widths',
    'eigenspectrum',
    'intrinsic_dimensionality',
    'relative_gradient_norm',
    'stage_rule',
]


def __getattr__(name: str):
    # Derived from a class of mmdet's, which importing this package neither needs nor imports.
    if name == 'WidthResNet':
        return models.WidthResNet
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
