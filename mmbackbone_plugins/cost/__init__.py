"""What a run costs."""

from .counting import OperatorCounter, flop_counter
from .flops import StepFlops, training_flops
from .ledger import Counted, Ledger, Lost, PhaseCost
from .naming import first_training, phase_name
from .plan import RunPlan, plan_run
from .report import bill, side_by_side

__all__ = [
    'Counted',
    'Ledger',
    'Lost',
    'OperatorCounter',
    'PhaseCost',
    'RunPlan',
    'StepFlops',
    'bill',
    'first_training',
    'flop_counter',
    'phase_name',
    'plan_run',
    'side_by_side',
    'training_flops',
]
