"""What a run costs."""

from .counting import OperatorCounter, new_flop_counter
from .flops import StepFlops, training_flops
from .ledger import Ledger, Lost, PhaseCost
from .naming import first_training, phase_name
from .plan import RunPlan, plan_runs
from .report import cost_text, flops_text, operators_text, side_by_side
from .weighing import Counted, weigh

__all__ = [
    'Counted',
    'Ledger',
    'Lost',
    'OperatorCounter',
    'PhaseCost',
    'RunPlan',
    'StepFlops',
    'cost_text',
    'first_training',
    'new_flop_counter',
    'flops_text',
    'operators_text',
    'phase_name',
    'plan_runs',
    'side_by_side',
    'training_flops',
    'weigh',
]
