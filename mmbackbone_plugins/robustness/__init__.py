"""Corrupted pictures and common classes: what the robustness of oriented detectors is measured by.

The measuring itself, over many test sets, is in :mod:`mmbackbone_plugins.sweeps`.
"""

from .class_map import CLASS_MAPS, DATASET_CLASSES, CommonClasses, common_classes
from .corruptions import (
    BENCHMARK,
    GROUPS,
    SEVERITIES,
    VALIDATION,
    corrupt,
    image_seed,
    select_corruptions,
)
from .scores import RobustnessScores, robustness_scores
from .transform import Corruption, insert_corruption

__all__ = [
    'BENCHMARK',
    'CLASS_MAPS',
    'CommonClasses',
    'Corruption',
    'DATASET_CLASSES',
    'GROUPS',
    'RobustnessScores',
    'SEVERITIES',
    'VALIDATION',
    'common_classes',
    'corrupt',
    'image_seed',
    'insert_corruption',
    'robustness_scores',
    'select_corruptions',
]
