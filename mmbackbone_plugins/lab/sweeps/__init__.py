"""One detector on many test sets: corrupted ones, other styles, another data set."""

from . import report
from .evaluate import (
    default_score,
    evaluate,
    is_precision,
    json_numbers,
    labelled_split,
    oriented_evaluator,
)
from .sweep import Cell, Sweep
from .transfer import LAYOUTS, other_data

__all__ = [
    'Cell',
    'LAYOUTS',
    'Sweep',
    'default_score',
    'evaluate',
    'is_precision',
    'json_numbers',
    'labelled_split',
    'oriented_evaluator',
    'other_data',
    'report',
]
