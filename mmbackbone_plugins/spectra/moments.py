"""Streaming second moments of feature maps."""

from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

import numpy as np
import torch

from ..utils.checks import whole_number

# Elements that are turned into float64 at once: on a CPU what stays in its cache, on a GPU what
# fills it. The largest map of a 1024 px image has 16 million.
CHUNK = {'cpu': 2**20, 'other': 2**25}
LEAST_COLUMNS = 1024  # below, adding to C x C costs more than the product
FAR = 100  # deviations of the mean from 0 from where on centring at the end would lose 4 digits

Array = Union[torch.Tensor, np.ndarray]


def as_tensor(values: Array) -> torch.Tensor:
    """A tensor of an array or of what makes one; a tensor is left as it is."""
    given = values if isinstance(values, torch.Tensor) else np.ascontiguousarray(values)
    return torch.as_tensor(given)


class NonFiniteFeature(ValueError):
    """A feature map holds NaN or Inf, in image number ``image`` of the batch, from 0."""

    def __init__(self, image: int) -> None:
        super().__init__(f'the features of image {image} of the batch hold NaN or Inf')
        self.image = image


class SecondMoment:
    """Second moment of a feature map over images: ``(1/n) sum_i 1/P_i sum_p F_ip F_ip^T``.

    The mean over the ``P_i`` positions of an image comes first, then the mean over ``n`` images, so
    that each image weighs the same whatever its size. Nothing is subtracted: the paper's covariance
    is uncentred. All sums are in float64, on the device of the features. Channels with a mean far
    from 0 are added up about the mean of the first images, so that centring at the end loses
    nothing.

    The state is a sum over images, so two of them merge exactly (within rounding, in any order),
    and it has ``C x C`` numbers whatever the number of images.

    Args:
        num_channels: Channels ``C`` of the features.

    Attributes:
        images: Images that counted.
        samples: Positions that counted, of all images; an upper bound of the matrix's rank.

    Raises:
        ValueError: If ``num_channels`` is not a positive whole number.

    Source:
        arXiv 1909.04021, definition of the feature maps' covariance (slides of the authors).

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import SecondMoment
        >>> moment = SecondMoment(2)
        >>> moment.update(torch.ones(3, 2, 4, 4))
        >>> moment
        SecondMoment(2, images=3, samples=48)
        >>> moment.matrix().tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, num_channels: int) -> None:
        allowed = 'a positive whole number'
        self.num_channels = whole_number('num_channels', num_channels, allowed=allowed)
        self.images = self.samples = 0
        self._second: Optional[torch.Tensor] = None  # its upper triangle counts
        self._means: Optional[torch.Tensor] = None
        self._point: Optional[torch.Tensor] = None  # what both are about; None: 0
        self._new = True

    def __repr__(self) -> str:
        return f'SecondMoment({self.num_channels}, images={self.images}, samples={self.samples})'

    @torch.no_grad()
    def update(self, feature: Array, mask: Optional[Array] = None) -> None:
        """Adds the images of a batch: maps ``(N, C, H, W)`` or tokens ``(N, L, C)`` of a real type.

        The mask is of positions that count, bool, ``(N, H, W)`` or ``(N, L)``; default is all. An
        image without any does not count. A ValueError if the shapes do not fit or features are
        complex, of kind :class:`NonFiniteFeature` if a position that counts is NaN or Inf. The
        images before it may have been added: the moment is of no use then.
        """
        feature = as_tensor(feature)
        flat = self._flat(feature)
        if mask is not None:
            mask = self._flat_mask(as_tensor(mask), feature).to(flat.device)
        second, means = self._allocate(flat.device)
        most = CHUNK.get(flat.device.type, CHUNK['other']) // self.num_channels  # at once
        most = max(most, LEAST_COLUMNS)
        pieces = self._whole(flat, most) if mask is None else self._masked(flat, most, mask)
        add_product = PRODUCTS.get(flat.device.type, PRODUCTS['other'])
        for columns, weight, first in pieces:
            if self._new:
                self._point, self._new = _point_for(columns), False
            if self._point is not None:
                columns -= self._point[:, None, None]
            sums = columns.sum(2)
            finite = torch.isfinite(sums).all(0)
            if not finite.all():
                raise NonFiniteFeature(first + int((~finite).nonzero()[0]))
            means.add_(sums.sum(1), alpha=weight)
            add_product(second, columns.flatten(1), weight)

    def merge(self, other: 'SecondMoment') -> 'SecondMoment':
        """Adds the images of another moment to this one, and returns this one."""
        if other.num_channels != self.num_channels:
            raise ValueError(
                f'moments of {self.num_channels} and {other.num_channels} channels do not merge'
            )
        if other.images:
            point = self._point if self.images else other._point
            own, added = self._sums_about(point), other._sums_about(point)
            self._second, self._means = (a + b.to(a.device) for a, b in zip(own, added))
            self._point, self._new = point, False
            self.images += other.images
            self.samples += other.samples
        return self

    def matrix(self, center: bool = False) -> torch.Tensor:
        """The matrix ``(C, C)`` in float64, symmetric to the last bit.

        ``center`` subtracts ``m m^T``, ``m`` the mean over images of each image's mean. A
        ValueError if no image has counted.
        """
        if not self.images:
            raise ValueError('no image has counted: there is no second moment')
        second, means = self._sums_about(self._point if center else None)  # centred about any
        upper = second.triu()
        matrix = (upper + upper.triu(1).T) / self.images
        if center:
            mean = means / self.images
            matrix -= torch.outer(mean, mean)
        return matrix

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Sums over images, which add up over ranks: an ``all_reduce`` of each is a merge.

        ``second`` (``C x C``, its upper triangle counts), ``means`` (``C``), float64, and
        ``counts`` (images and samples, int64). They may be no copies. They are about 0: beside a
        mean of ``r`` deviations, centring them is exact to some ``r * r * 1e-16``.
        """
        second, means = self._sums_about(None)
        counts = torch.tensor([self.images, self.samples], device=means.device)
        return dict(second=second, means=means, counts=counts)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> 'SecondMoment':
        """Takes such sums up, and returns itself; a ValueError for anything else."""
        c = self.num_channels
        wanted = dict(second=(c, c), means=(c,), counts=(2,))
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if shapes != wanted:
            raise ValueError(f'a moment of {c} channels has a state of {wanted}, got {shapes}')
        self._second, self._means = state['second'].double(), state['means'].double()
        self._point, self._new = None, False
        self.images, self.samples = state['counts'].tolist()
        return self

    def _allocate(self, device: Any = 'cpu') -> tuple[torch.Tensor, torch.Tensor]:
        if self._second is None or self._means is None:
            self._means = torch.zeros(self.num_channels, dtype=torch.float64, device=device)
            self._second = torch.outer(self._means, self._means)
        return self._second, self._means

    def _sums_about(self, point: Optional[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Second moments (the upper triangle counts) and means about another point, summed."""
        second, means = self._allocate()
        if point is self._point:
            return second, means
        zero = torch.zeros_like(means)
        here, there = (zero if p is None else p.to(zero.device) for p in (self._point, point))
        step = here - there
        cross = torch.outer(step, means + self.images / 2 * step)
        return second + (cross + cross.T), means + self.images * step

    def _flat(self, feature: torch.Tensor) -> torch.Tensor:
        """The features as ``(N, C, positions)``."""
        shape = tuple(feature.shape)
        if feature.is_complex():
            raise ValueError(f'features must be real, got {feature.dtype}')
        if feature.dim() == 4 and shape[1] == self.num_channels:
            return feature.flatten(2)
        if feature.dim() == 3 and shape[2] == self.num_channels:
            return feature.transpose(1, 2)
        raise ValueError(
            f'features must be (N, {self.num_channels}, H, W) or tokens '
            f'(N, L, {self.num_channels}), got {shape}'
        )

    def _flat_mask(self, mask: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        shape = tuple(feature.shape)
        wanted = (shape[0], *shape[2:]) if len(shape) == 4 else shape[:2]
        if mask.dtype != torch.bool or tuple(mask.shape) != wanted:
            raise ValueError(
                f'mask must be bool and {wanted} for features of {shape}, got {mask.dtype} and '
                f'{tuple(mask.shape)}'
            )
        return mask.flatten(1)

    def _whole(self, flat: torch.Tensor, most: int) -> Iterator[tuple[torch.Tensor, float, int]]:
        """Features ``(C, images, positions)``, a position's weight, number of the first image."""
        number, _, positions = flat.shape
        if not positions:
            return
        self.images += number
        self.samples += number * positions
        together = max(most // positions, 1)
        for first in range(0, number, together):
            images = flat[first : first + together]
            for start in range(0, positions, most):
                part = images[:, :, start : start + most].transpose(0, 1)
                columns = torch.empty(part.shape, dtype=torch.float64, device=flat.device)
                yield columns.copy_(part), 1 / positions, first

    def _masked(
        self, flat: torch.Tensor, most: int, mask: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, float, int]]:
        """The same of what a mask leaves, image by image."""
        for number, (image, keep) in enumerate(zip(flat, mask)):
            kept = keep.nonzero().flatten()
            if not len(kept):
                continue
            self.images += 1
            self.samples += len(kept)
            for part in kept.split(most):
                yield image.index_select(1, part).double()[:, None], 1 / len(kept), number


def add_with_numpy(total: torch.Tensor, columns: torch.Tensor, weight: float) -> None:
    """Adds ``weight * columns @ columns.T`` on a CPU.

    numpy hands a product of an array with itself to the symmetric routine of its BLAS, which does
    half of the work; torch has no such product.
    """
    array = columns.numpy()
    total.add_(torch.from_numpy(array @ array.T), alpha=weight)


def add_in_blocks(total: torch.Tensor, columns: torch.Tensor, weight: float) -> None:
    """Adds ``weight * columns @ columns.T``, the blocks on and above the diagonal only.

    The rest is the same numbers. Blocks that are too small lose more than they save.
    """
    block = max(len(columns) // 8, 64)
    for start in range(0, len(columns), block):
        rows = slice(start, start + block)
        total[rows, start:].addmm_(columns[rows], columns[start:].T, alpha=weight)


PRODUCTS = {'cpu': add_with_numpy, 'other': add_in_blocks}


def _point_for(columns: torch.Tensor) -> Optional[torch.Tensor]:
    """What features ``(C, ...)`` are added up about: the means of channels far from 0, if any."""
    flat = columns.flatten(1)
    means = flat.mean(1)
    far = means.abs() > FAR * flat.std(1, unbiased=False)
    return means.where(far, torch.zeros_like(means)) if bool(far.any()) else None
