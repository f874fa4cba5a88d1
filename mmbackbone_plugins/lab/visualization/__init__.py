"""Pictures for reports. Matplotlib is needed only when one is drawn (extra ``plots``).

All that draw raise ImportError without it.
"""

from .backend import pyplot
from .boxes import Boxes, Sample, class_colors, compare_boxes, draw_class_legend, draw_on_image
from .cost import plot_cost_over_rho
from .differences import Difference, plot_differences
from .distortion import plot_runs
from .domains import plot_domains
from .eigenspectrum import (
    plot_dimension_over_depth,
    plot_spectra,
    plot_spectrum_dynamics,
    read_dynamics,
)
from .interpolation import plot_interpolation
from .logs import RunLog, frozen_spans, read_run, read_scalars, trainable_by_epoch
from .methods import MethodStyle, method_styles, style_of
from .rgn import plot_rgn_over_depth
from .robustness import plot_robustness
from .seeds import plot_seeds
from .tradeoff import Point, plot_gain, plot_pareto
from .widths import plot_widths

__all__ = [
    'Boxes',
    'Difference',
    'MethodStyle',
    'Point',
    'RunLog',
    'Sample',
    'class_colors',
    'compare_boxes',
    'draw_class_legend',
    'draw_on_image',
    'frozen_spans',
    'method_styles',
    'plot_cost_over_rho',
    'plot_differences',
    'plot_dimension_over_depth',
    'plot_domains',
    'plot_gain',
    'plot_interpolation',
    'plot_pareto',
    'plot_rgn_over_depth',
    'plot_robustness',
    'plot_runs',
    'plot_seeds',
    'plot_spectra',
    'plot_spectrum_dynamics',
    'plot_widths',
    'pyplot',
    'read_dynamics',
    'read_run',
    'read_scalars',
    'style_of',
    'trainable_by_epoch',
]
