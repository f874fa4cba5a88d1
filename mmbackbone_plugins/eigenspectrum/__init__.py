"""What the features of a detector span: second moments and their eigenvalues. Plain PyTorch."""

from .collect import collect_moments, forward_features, forward_tensors, needed_forward
from .layers import convolution_layers, default_layers, resolve_layers
from .masks import ImageGeometry, geometry_of, inside_boxes, position_mask
from .moments import NonFiniteFeature, SecondMoment
from .spectrum import (
    Spectrum,
    SpectrumSummary,
    decay_exponent,
    effective_rank,
    eigenspectrum,
    intrinsic_dimensionality,
    participation_ratio,
    summarize,
)

__all__ = [
    'ImageGeometry',
    'NonFiniteFeature',
    'SecondMoment',
    'Spectrum',
    'SpectrumSummary',
    'collect_moments',
    'convolution_layers',
    'decay_exponent',
    'default_layers',
    'effective_rank',
    'eigenspectrum',
    'forward_features',
    'forward_tensors',
    'geometry_of',
    'inside_boxes',
    'intrinsic_dimensionality',
    'needed_forward',
    'participation_ratio',
    'position_mask',
    'resolve_layers',
    'summarize',
]
