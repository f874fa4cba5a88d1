"""Scores of oriented detectors."""

from .oriented_ap import Detections, OrientedAP, Truth, oriented_ap
from .oriented_metric import OrientedMetric

__all__ = ['Detections', 'OrientedAP', 'OrientedMetric', 'Truth', 'oriented_ap']
