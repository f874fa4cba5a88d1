"""Pictures for reports. Matplotlib is needed only when one is drawn (extra ``plots``)."""

from .backend import pyplot
from .boxes import (
    Boxes,
    Sample,
    class_colors,
    compare_boxes,
    draw_boxes,
    draw_class_legend,
    draw_on_image,
)
from .cost import plot_cost_over_rho
from .curves import (
    frozen_spans,
    plot_training,
    read_scalars,
    shade_frozen,
    trainable_by_epoch,
)
from .distortion import RunLog, plot_rgn_over_depth, plot_runs, read_run, spans_of_frozen
from .domains import plot_domains
from .eigenspectrum import (
    plot_dimension_over_depth,
    plot_spectra,
    plot_spectrum_dynamics,
    read_dynamics,
)
from .labels import label_points
from .methods import MethodStyle, method_styles
from .robustness import plot_robustness
from .seeds import plot_seeds
from .tradeoff import Point, plot_gain, plot_pareto
from .widths import plot_widths

__all__ = [
    'Boxes',
    'MethodStyle',
    'Point',
    'RunLog',
    'Sample',
    'class_colors',
    'compare_boxes',
    'draw_boxes',
    'draw_class_legend',
    'draw_on_image',
    'frozen_spans',
    'label_points',
    'method_styles',
    'plot_cost_over_rho',
    'plot_dimension_over_depth',
    'plot_domains',
    'plot_gain',
    'plot_pareto',
    'plot_rgn_over_depth',
    'plot_robustness',
    'plot_runs',
    'plot_seeds',
    'plot_spectra',
    'plot_spectrum_dynamics',
    'plot_training',
    'plot_widths',
    'pyplot',
    'read_dynamics',
    'read_run',
    'read_scalars',
    'shade_frozen',
    'spans_of_frozen',
    'trainable_by_epoch',
]
