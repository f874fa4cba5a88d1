"""What the features of a detector span: second moments and their eigenvalues. Plain PyTorch."""

from .collect import collect_moments, forward_features, forward_tensors, needed_forward
from .files import Spectra, load_spectra, save_spectra
from .layers import convolution_layers, default_layers, resolve_layers
from .masks import ImageGeometry, geometry_of, inside_boxes, position_mask
from .moments import NonFiniteFeature, SecondMoment
from .resampling import merged, resampled
from .spectrum import (
    Spectrum,
    SpectrumSummary,
    check_threshold,
    decay_exponent,
    effective_rank,
    eigenspectrum,
    intrinsic_dimensionality,
    participation_ratio,
    summarize,
)
from .widths import WidthPlan, check_budget, determine_widths, widths_at, widths_by_threshold

__all__ = [
    'ImageGeometry',
    'NonFiniteFeature',
    'SecondMoment',
    'Spectra',
    'Spectrum',
    'SpectrumSummary',
    'WidthPlan',
    'check_budget',
    'check_threshold',
    'collect_moments',
    'convolution_layers',
    'decay_exponent',
    'default_layers',
    'determine_widths',
    'effective_rank',
    'eigenspectrum',
    'forward_features',
    'forward_tensors',
    'geometry_of',
    'inside_boxes',
    'intrinsic_dimensionality',
    'load_spectra',
    'merged',
    'needed_forward',
    'participation_ratio',
    'position_mask',
    'resampled',
    'resolve_layers',
    'save_spectra',
    'summarize',
    'widths_at',
    'widths_by_threshold',
]
