"""How hard the loss pulls the backbone, and how far it has moved. Plain PyTorch."""

from .rgn import GRANULARITIES, Deferred, Measurement, average, measure, relative_gradient_norm
from .table import Aggregate, RGNTable, aggregate, frozen_stages

__all__ = [
    'GRANULARITIES',
    'Aggregate',
    'Deferred',
    'Measurement',
    'RGNTable',
    'aggregate',
    'average',
    'frozen_stages',
    'measure',
    'relative_gradient_norm',
]
