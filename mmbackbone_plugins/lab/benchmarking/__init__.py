"""One plan, many runs: methods x detectors x data sets x seeds, and a report of them."""

from . import slurm
from .folder import RunFolder
from .forecast import forecast, plan_table
from .plan import Plan, Run
from .plan_file import read_plan
from .prepare import prepare
from .queue import Local, Queue
from .repeats import compare_repeats, repeats
from .results import Result, load_results
from .trials import write_choice

__all__ = [
    'Local',
    'Plan',
    'Queue',
    'Result',
    'Run',
    'RunFolder',
    'compare_repeats',
    'forecast',
    'load_results',
    'plan_table',
    'prepare',
    'read_plan',
    'repeats',
    'slurm',
    'write_choice',
]
