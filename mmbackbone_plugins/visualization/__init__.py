"""Pictures for reports. Matplotlib is needed only when one is drawn (extra ``plots``)."""

from .backend import pyplot
from .boxes import Boxes, Sample, compare_boxes, draw_boxes
from .cost import plot_cost_over_rho
from .curves import (
    frozen_spans,
    plot_training,
    read_scalars,
    shade_frozen,
    trainable_by_epoch,
)
from .distortion import RunLog, plot_rgn_over_depth, plot_runs, read_run

__all__ = [
    'RunLog',
    'Boxes',
    'Sample',
    'compare_boxes',
    'draw_boxes',
    'frozen_spans',
    'plot_cost_over_rho',
    'plot_rgn_over_depth',
    'plot_runs',
    'plot_training',
    'pyplot',
    'read_run',
    'read_scalars',
    'shade_frozen',
    'trainable_by_epoch',
]
