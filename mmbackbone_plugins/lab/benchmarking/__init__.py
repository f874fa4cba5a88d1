"""One plan, many runs: methods x detectors x data sets x seeds, and a report of them."""

from . import slurm
from .folder import RunFolder
from .forecast import forecast, plan_table
from .plan import Plan, Run
from .plan_file import read_plan
from .prepare import prepare
from .queue import Local, Queue
from .results import Result, load_results
from .trials import write_choice

__all__ = [
    'Local',
    'Plan',
    'Queue',
    'Result',
    'Run',
    'RunFolder',
    'forecast',
    'load_results',
    'plan_table',
    'prepare',
    'read_plan',
    'slurm',
    'write_choice',
]
