"""Which stages train at a step, and making it so."""

from .budget import BudgetedFreezing
from .building import build_schedule
from .folding import FROZEN_FORWARDS, FrozenForward
from .freezer import FROZEN_MODES, Freezer, FreezeStatus, StageStatus
from .gradual import FreezeFromInput, GradualUnfreezing
from .phases import Phase, phases
from .plan import FreezePlan
from .schedules import (
    FreezingSchedule,
    FrozenBackbone,
    FullTraining,
    MilestoneFreezing,
    ProbeThenFinetune,
    StepFreezing,
)

__all__ = [
    'BudgetedFreezing',
    'FROZEN_FORWARDS',
    'FROZEN_MODES',
    'FreezeFromInput',
    'FreezePlan',
    'FreezeStatus',
    'Freezer',
    'FreezingSchedule',
    'FrozenBackbone',
    'FrozenForward',
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
