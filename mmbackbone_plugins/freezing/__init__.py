"""Which stages train at a step, and making it so."""

from .building import build_schedule
from .freezer import FROZEN_MODES, Freezer, FreezeStatus, StageStatus
from .phases import Phase, phases
from .plan import FreezePlan
from .schedules import (
    FreezingSchedule,
    FrozenBackbone,
    FullTraining,
    GradualUnfreezing,
    MilestoneFreezing,
    ProbeThenFinetune,
    StepFreezing,
)

__all__ = [
    'FROZEN_MODES',
    'FreezePlan',
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
