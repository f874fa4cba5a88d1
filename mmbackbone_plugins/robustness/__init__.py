"""How much an oriented detector loses on corrupted pictures and on another data set."""

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
from .evaluate import (
    default_score,
    evaluate,
    is_precision,
    labelled_split,
    oriented_evaluator,
)
from .scores import RobustnessScores, robustness_scores
from .sweep import Cell, Sweep
from .transfer import LAYOUTS, innermost, move_data, other_data
from .transform import Corruption, insert_corruption

__all__ = [
    'BENCHMARK',
    'CLASS_MAPS',
    'Cell',
    'Sweep',
    'LAYOUTS',
    'innermost',
    'move_data',
    'other_data',
    'default_score',
    'evaluate',
    'is_precision',
    'labelled_split',
    'oriented_evaluator',
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
