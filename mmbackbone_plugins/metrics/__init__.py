"""Scores of oriented detectors, corrupted pictures, and the classes that data sets share."""

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
from .oriented_ap import Detections, OrientedAP, Truth, oriented_ap
from .oriented_metric import OrientedMetric
from .scores import RobustnessScores, robustness_scores
from .transform import Corruption, insert_corruption

__all__ = [
    'BENCHMARK',
    'CLASS_MAPS',
    'CommonClasses',
    'Corruption',
    'DATASET_CLASSES',
    'Detections',
    'GROUPS',
    'OrientedAP',
    'OrientedMetric',
    'RobustnessScores',
    'SEVERITIES',
    'Truth',
    'VALIDATION',
    'common_classes',
    'corrupt',
    'image_seed',
    'insert_corruption',
    'oriented_ap',
    'robustness_scores',
    'select_corruptions',
]
