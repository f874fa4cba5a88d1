"""Streaming second moments of feature maps."""

from collections.abc import Iterator, Mapping
from typing import Optional

import torch

# Elements that are turned into float64 at once: on a CPU what stays in its cache, on a GPU what
# fills it. The largest map of a 1024 px image has 16 million.
CHUNK = {'cpu': 2**20, 'other': 2**25}
LEAST_COLUMNS = 1024  # below, adding to C x C costs more than the product


class NonFiniteFeature(ValueError):
    """A feature map holds NaN or Inf.

    Attributes:
        image: Number of the image in the batch, from 0.
    """

    def __init__(self, image: int) -> None:
        super().__init__(f'the features of image {image} of the batch hold NaN or Inf')
        self.image = image


class SecondMoment:
    """Second moment of a feature map over images: ``(1/n) sum_i 1/P_i sum_p F_ip F_ip^T``.

    The mean over the ``P_i`` positions of an image comes first, then the mean over ``n`` images, so
    that each image weighs the same whatever its size. Nothing is subtracted: the paper's covariance
    is uncentred. All sums are in float64, on the device of the features: what float32 cannot
    tell apart is below what float64 rounds, so that centring at the end loses nothing. Cards with
    little float64 arithmetic take longer; the numbers are the same.

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
    """

    def __init__(self, num_channels: int) -> None:
        if isinstance(num_channels, bool) or not isinstance(num_channels, int) or num_channels < 1:
            raise ValueError(f'num_channels must be a positive whole number, got {num_channels!r}')
        self.num_channels = num_channels
        self.images = 0
        self.samples = 0
        self._second: Optional[torch.Tensor] = None  # its upper triangle counts
        self._means: Optional[torch.Tensor] = None

    def __repr__(self) -> str:
        return f'SecondMoment({self.num_channels}, images={self.images}, samples={self.samples})'

    @torch.no_grad()
    def update(self, feature: torch.Tensor, mask: Optional[torch.Tensor] = None) -> None:
        """Adds the images of a batch.

        Args:
            feature: Feature maps ``(N, C, H, W)`` or tokens ``(N, L, C)``, of any float type.
            mask: Positions that count, bool, ``(N, H, W)`` or ``(N, L)``; default is all. An image
                without any does not count.

        Raises:
            ValueError: If the shapes do not fit.
            NonFiniteFeature: If a position that counts is NaN or Inf. The images before it may have
                been added: the moment is of no use then.
        """
        flat = self._flat(feature)
        if mask is not None:
            mask = self._flat_mask(mask, feature).to(flat.device)
        self._allocate(flat.device)
        pieces = self._whole(flat) if mask is None else self._masked(flat, mask)
        add_product = PRODUCTS.get(flat.device.type, PRODUCTS['other'])
        for columns, weight, first in pieces:
            sums = columns.sum(2)
            finite = torch.isfinite(sums).all(0)
            if not finite.all():
                raise NonFiniteFeature(first + int((~finite).nonzero()[0]))
            self._means.add_(sums.sum(1), alpha=weight)
            add_product(self._second, columns.flatten(1), weight)

    def merge(self, other: 'SecondMoment') -> 'SecondMoment':
        """Adds the images of another moment to this one, and returns this one.

        Raises:
            ValueError: If the other has another number of channels.
        """
        return self.load_state_dict(_sum(self.state_dict(), other.state_dict()))

    def matrix(self, center: bool = False) -> torch.Tensor:
        """The matrix ``(C, C)`` in float64, symmetric to the last bit.

        Args:
            center: Subtract ``m m^T``, ``m`` the mean over images of each image's mean.

        Raises:
            ValueError: If no image has counted.
        """
        if not self.images:
            raise ValueError('no image has counted: there is no second moment')
        upper = self._second.triu()
        matrix = (upper + upper.triu(1).T) / self.images
        if center:
            mean = self.mean()
            matrix -= torch.outer(mean, mean)
        return matrix

    def mean(self) -> torch.Tensor:
        """Mean over images of each image's mean, ``(C,)`` in float64.

        Raises:
            ValueError: If no image has counted.
        """
        if not self.images:
            raise ValueError('no image has counted: there is no mean')
        return self._means / self.images

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Sums over images, which add up over ranks: an ``all_reduce`` of each is a merge.

        Returns:
            ``second`` (``C x C``, its upper triangle counts), ``means`` (``C``), float64, and
            ``counts`` (images and samples, int64). They are not copies.
        """
        self._allocate(torch.device('cpu'))
        counts = torch.tensor([self.images, self.samples], device=self._means.device)
        return dict(second=self._second, means=self._means, counts=counts)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> 'SecondMoment':
        """Takes sums up, and returns itself.

        Raises:
            ValueError: If they are of another number of channels.
        """
        if state['means'].shape != (self.num_channels,):
            raise ValueError(
                f'a moment of {len(state["means"])} channels does not fit one of '
                f'{self.num_channels}'
            )
        self._second, self._means = state['second'], state['means']
        self.images, self.samples = state['counts'].tolist()
        return self

    # -- parts -----------------------------------------------------------------------------------

    def _allocate(self, device: torch.device) -> None:
        if self._second is None:
            c = self.num_channels
            self._second = torch.zeros(c, c, dtype=torch.float64, device=device)
            self._means = torch.zeros(c, dtype=torch.float64, device=device)

    def _flat(self, feature: torch.Tensor) -> torch.Tensor:
        """The features as ``(N, C, positions)``."""
        shape = tuple(feature.shape)
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

    def _columns(self, device: torch.device) -> int:
        """Positions that are worked on at once."""
        chunk = CHUNK.get(device.type, CHUNK['other'])
        return max(chunk // self.num_channels, LEAST_COLUMNS)

    def _whole(self, flat: torch.Tensor) -> Iterator[tuple[torch.Tensor, float, int]]:
        """Batches without a mask, some images or some positions of an image at a time.

        Yields:
            Features ``(C, images, positions)`` in float64, the weight of a position, and the number
            of the first image.
        """
        number, _, positions = flat.shape
        if not positions:
            return
        self.images += number
        self.samples += number * positions
        most = self._columns(flat.device)
        together = max(most // positions, 1)
        for first in range(0, number, together):
            images = flat[first : first + together]
            for start in range(0, positions, most):
                part = images[:, :, start : start + most].transpose(0, 1)
                columns = torch.empty(part.shape, dtype=torch.float64, device=flat.device)
                yield columns.copy_(part), 1 / positions, first

    def _masked(
        self, flat: torch.Tensor, mask: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, float, int]]:
        """The same of what a mask leaves, image by image."""
        most = self._columns(flat.device)
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


def _sum(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if a['means'].shape != b['means'].shape:
        raise ValueError(
            f'moments of {len(a["means"])} and {len(b["means"])} channels do not merge'
        )
    return {name: a[name] + b[name].to(a[name].device) for name in a}
