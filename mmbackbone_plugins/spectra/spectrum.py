"""Eigenvalues of second moments, and what they say in one number."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

import numpy as np
import torch

from ..utils.checks import is_number
from .moments import Array as Values
from .moments import SecondMoment, as_tensor

# Negative eigenvalues up to this part of the trace are rounding, beyond they are an error.
ROUNDING = 1e-8
ROUNDING_BELOW_FLOAT64 = 1e-4


def eigenspectrum(matrix: Values) -> Values:
    """Eigenvalues of a second moment or covariance, the largest first.

    By the symmetric solver, in float64, on the CPU. A second moment has no negative eigenvalues;
    tiny ones are rounding and become 0 (:func:`summarize` reports how many and how far below).

    Args:
        matrix: Symmetric, ``(C, C)``, tensor or array.

    Returns:
        ``C`` float64 values, a tensor (on the device of ``matrix``) or an array as given.

    Raises:
        ValueError: If the matrix is not square, real, finite and symmetric, or an eigenvalue is
            negative by more than rounding.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import eigenspectrum
        >>> eigenspectrum(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        tensor([4., 1.], dtype=torch.float64)
    """
    values = _eigenvalues(matrix).clamp(min=0)
    return values.to(matrix.device) if isinstance(matrix, torch.Tensor) else values.numpy()


def intrinsic_dimensionality(
    eigenvalues: Values, threshold: float = 1e-3, relative: bool = False
) -> int:
    """Number of eigenvalues above a threshold.

    Args:
        eigenvalues: From :func:`eigenspectrum`.
        threshold: The paper's is 1e-3.
        relative: Whether the threshold is a part of the largest eigenvalue. The paper does not say;
            absolute is what its slides have, literally. An absolute one depends on the scale of
            the features: the same network with a feature map times ten has another dimension.

    Raises:
        ValueError: If the threshold is not a positive number (below 1 if relative), or the
            eigenvalues are not one row of real, finite numbers.

    Source:
        arXiv 1909.04021 (slides of the authors).

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import intrinsic_dimensionality
        >>> eigenvalues = torch.tensor([4.0, 1.0, 1e-6])
        >>> intrinsic_dimensionality(eigenvalues)
        2
        >>> intrinsic_dimensionality(eigenvalues, threshold=0.5, relative=True)
        1
    """
    check_threshold(threshold, relative)
    values = _array(eigenvalues)
    limit = threshold * values.max(initial=0.0) if relative else threshold
    return int((values > limit).sum())


def effective_rank(eigenvalues: Values) -> float:
    """Exponential of the entropy of the eigenvalues taken as a distribution; 0 if all are 0.

    Roy and Vetterli, "The effective rank", 2007 (with eigenvalues for singular values).
    """
    values = _array(eigenvalues)
    values = values[values > 0]
    if not len(values):
        return 0.0
    part = values / values.sum()
    return float(np.exp(-(part * np.log(part)).sum()))


def participation_ratio(eigenvalues: Values) -> float:
    """``(sum lambda)^2 / sum lambda^2``, from 1 to C; 0 if all are 0."""
    values = _array(eigenvalues)
    largest = values.max(initial=0.0)
    if largest <= 0:
        return 0.0
    part = values / largest  # squares of tiny values vanish
    return float(part.sum() ** 2 / (part**2).sum())


def decay_exponent(eigenvalues: Values, threshold: float = 1e-3, relative: bool = False) -> float:
    """``a`` of the power law ``lambda_k ~ k^-a``, by least squares of logarithms.

    Over the eigenvalues that the intrinsic dimensionality counts: the rest is noise or zero. NaN
    for fewer than three. Our definition: the paper has none.
    """
    values = _array(eigenvalues)
    values = values[: intrinsic_dimensionality(values, threshold, relative)]
    if len(values) < 3:
        return math.nan
    slope, _ = np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)
    return float(-slope)


@dataclass(frozen=True)
class SpectrumSummary:
    """A spectrum in numbers."""

    width: int  # channels
    dim: int  # intrinsic dimensionality
    saturation: float  # dim / width
    effective_rank: float
    participation_ratio: float
    decay: float  # see :func:`decay_exponent`
    largest: float  # eigenvalue
    trace: float  # mean square of a position's features, added over channels
    images: int = 0  # that counted; 0 where that is not known
    samples: int = 0  # positions that counted; 0 where that is not known
    clamped: int = 0  # negative eigenvalues that became 0
    most_negative: float = 0.0  # the lowest of these; 0 without any

    @property
    def rank_limited(self) -> bool:
        """Whether there were fewer samples than channels, so that the rest is zero of itself."""
        return 0 < self.samples < self.width

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a layer, the largest first, and their summary."""

    eigenvalues: np.ndarray
    summary: SpectrumSummary


def summarize(
    moment: Union[SecondMoment, Values],
    threshold: float = 1e-3,
    relative: bool = False,
    center: bool = False,
) -> Spectrum:
    """Eigenvalues and summary of a second moment.

    Args:
        moment: A moment, or its matrix.
        threshold: See :func:`intrinsic_dimensionality`.
        relative: See :func:`intrinsic_dimensionality`.
        center: Of the centred moment. A matrix is taken as it is.

    Raises:
        ValueError: As :func:`eigenspectrum` and :func:`intrinsic_dimensionality`, or if no image
            has counted.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins.spectra import summarize
        >>> spectrum = summarize(torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
        >>> spectrum.summary.dim, spectrum.summary.width, spectrum.summary.saturation
        (1, 2, 0.5)
    """
    check_threshold(threshold, relative)
    images = samples = 0
    scale = None
    if isinstance(moment, SecondMoment):
        images, samples = moment.images, moment.samples
        # A centred matrix is a difference: its rounding is that of the uncentred one.
        scale = float(moment.matrix().trace()) if center else None
        moment = moment.matrix(center)
    raw = _eigenvalues(moment, scale)
    values = raw.clamp(min=0).numpy()
    dim = intrinsic_dimensionality(values, threshold, relative)
    summary = SpectrumSummary(
        width=len(values),
        dim=dim,
        saturation=dim / len(values),
        effective_rank=effective_rank(values),
        participation_ratio=participation_ratio(values),
        decay=decay_exponent(values, threshold, relative),
        largest=float(values[0]),
        trace=float(values.sum()),
        images=images,
        samples=samples,
        clamped=int((raw < 0).sum()),
        most_negative=min(float(raw[-1]), 0.0),
    )
    return Spectrum(values, summary)


def _eigenvalues(matrix: Values, scale: Optional[float] = None) -> torch.Tensor:
    """Eigenvalues with their rounding, checked; tiny ones are so against a trace, ``scale``."""
    tensor = as_tensor(matrix).detach().cpu()
    if tensor.dim() != 2 or tensor.shape[0] != tensor.shape[1] or not len(tensor):
        raise ValueError(f'matrix must be square, got {tuple(tensor.shape)}')
    if tensor.is_complex():
        raise ValueError(f'matrix must be real, got {tensor.dtype}')
    exact = tensor.double()
    if not torch.isfinite(exact).all():
        raise ValueError('matrix holds NaN or Inf')
    whole = tensor.dtype == torch.float64 or not tensor.is_floating_point()
    rounding = ROUNDING if whole else ROUNDING_BELOW_FLOAT64
    if (exact - exact.T).abs().max() > rounding * exact.abs().max():
        raise ValueError('matrix is not symmetric: it is no second moment')
    values = torch.from_numpy(np.linalg.eigvalsh(exact.numpy())[::-1].copy())
    scale = float(exact.diagonal().abs().sum()) if scale is None else scale
    if float(values[-1]) < -rounding * scale:
        raise ValueError(
            f'the lowest eigenvalue is {float(values[-1]):.3g}, of {float(values[0]):.3g} at most: '
            'this is no second moment, or it was computed with too few digits (float64 is needed)'
        )
    return values


def check_threshold(threshold: float, relative: bool = False) -> None:
    """Refuses what is no positive number (below 1 if relative)."""
    if not is_number(threshold) or not 0 < threshold < (1 if relative else math.inf):
        allowed = 'between 0 and 1 (relative)' if relative else 'positive and finite'
        raise ValueError(f'threshold must be {allowed}, got {threshold!r}')


def _array(eigenvalues: Values) -> np.ndarray:
    if isinstance(eigenvalues, torch.Tensor):
        eigenvalues = eigenvalues.detach().cpu()
        eigenvalues = (eigenvalues if eigenvalues.is_complex() else eigenvalues.double()).numpy()
    values = np.asarray(eigenvalues)
    if not np.iscomplexobj(values):
        values = values.astype(np.float64)
    finite = bool(np.isfinite(values).all())
    if values.ndim != 1 or np.iscomplexobj(values) or not finite:
        raise ValueError(
            f'eigenvalues must be one row of numbers, got {values.dtype} of shape {values.shape}'
            + ('' if finite else ' with NaN or Inf')
        )
    return values
