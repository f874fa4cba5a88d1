"""Which stages train at a step, and making it so."""

from .freezer import FROZEN_MODES, Freezer, FreezeStatus, StageStatus
from .schedules import (
    FreezingSchedule,
    FrozenBackbone,
    FullTraining,
    GradualUnfreezing,
    MilestoneFreezing,
    Phase,
    ProbeThenFinetune,
    StepFreezing,
    build_schedule,
    phases,
)

__all__ = [
    'FROZEN_MODES',
    'FreezeStatus',
    'Freezer',
    'FreezingSchedule',
    'FrozenBackbone',
    'FullTraining',
    'GradualUnfreezing',
    'MilestoneFreezing',
    'Phase',
    'ProbeThenFinetune',
    'StageStatus',
    'StepFreezing',
    'build_schedule',
    'phases',
]
