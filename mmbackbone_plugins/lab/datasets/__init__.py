"""Data sets on disk: their layouts, their classes, and whether their files are whole."""

from ...metrics.classes import CLASSES
from .check import check_splits
from .explain import LabelError, labels_explained
from .labels import Flaw
from .layouts import LAYOUTS, OFFICIAL, Split, classes_of, splits_of_config, splits_of_root
from .masks import check_masks
from .report import DataReport, SplitReport

__all__ = [
    'CLASSES',
    'DataReport',
    'Flaw',
    'LAYOUTS',
    'LabelError',
    'OFFICIAL',
    'Split',
    'SplitReport',
    'check_masks',
    'check_splits',
    'classes_of',
    'labels_explained',
    'splits_of_config',
    'splits_of_root',
]
