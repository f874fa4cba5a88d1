"""How hard the loss pulls the backbone, and how far it has moved. Plain PyTorch."""

from ..utils.untouched import seed_everything, untouched, untouched_random_numbers
from .anchor import Anchor
from .ball import FastTrainableProjection
from .coverage import Coverage
from .drift import linear_cka, statistics_drift, weight_drift
from .features import feature_similarity
from .importance import estimate_importance, importance_kind
from .interpolation import interpolate
from .regularizer import Penalty, add_penalty_gradient
from .rgn import GRANULARITIES, Deferred, Measurement, average, measure, relative_gradient_norm
from .table import Aggregate, RGNTable, aggregate, frozen_stages

__all__ = [
    'GRANULARITIES',
    'Aggregate',
    'Anchor',
    'Coverage',
    'Deferred',
    'FastTrainableProjection',
    'Measurement',
    'Penalty',
    'RGNTable',
    'add_penalty_gradient',
    'aggregate',
    'average',
    'estimate_importance',
    'feature_similarity',
    'frozen_stages',
    'importance_kind',
    'interpolate',
    'linear_cka',
    'measure',
    'relative_gradient_norm',
    'seed_everything',
    'statistics_drift',
    'untouched',
    'untouched_random_numbers',
    'weight_drift',
]
