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
from .eigenspectrum import (
    plot_dimension_over_depth,
    plot_spectra,
    plot_spectrum_dynamics,
    read_dynamics,
)
from .robustness import plot_robustness
from .widths import plot_widths

__all__ = [
    'RunLog',
    'Boxes',
    'Sample',
    'compare_boxes',
    'draw_boxes',
    'frozen_spans',
    'plot_dimension_over_depth',
    'plot_cost_over_rho',
    'plot_rgn_over_depth',
    'plot_robustness',
    'plot_runs',
    'plot_spectra',
    'plot_spectrum_dynamics',
    'plot_training',
    'plot_widths',
    'pyplot',
    'read_dynamics',
    'read_run',
    'read_scalars',
    'shade_frozen',
    'trainable_by_epoch',
]
