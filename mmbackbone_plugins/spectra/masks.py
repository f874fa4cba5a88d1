"""Which positions of a feature map are image, object or background."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, cast

import torch

CLASSES = 'classes'  # of segmentation labels
REGIONS = ('foreground', 'background', CLASSES)
UNLABELLED = 255  # what MMSegmentation's losses and scores leave out


@dataclass(frozen=True)
class ImageGeometry:
    """Where the picture and its objects are in an input of the network, in its pixels.

    Boxes are ``(n, 4)`` corners, ``(n, 5)`` rotated boxes (centre, width, height, angle in radians,
    from x towards y) or ``(n, 8)`` the corners of quadrilaterals in order, either way round.
    """

    input_shape: tuple[int, int]  # height, width
    image_shape: tuple[int, int]  # of the picture, from the upper left corner; the rest is padding
    boxes: Optional[torch.Tensor] = None  # ground truth
    ignored: Optional[torch.Tensor] = None  # boxes that are neither foreground nor background
    name: str = ''  # what messages call the image
    labels: Optional[torch.Tensor] = None  # a class a pixel, of the input or of the picture's file

    @property
    def padded(self) -> bool:
        return tuple(self.image_shape) != tuple(self.input_shape)


def centers(
    grid: tuple[int, int], input_shape: tuple[int, int], device: Any = None
) -> torch.Tensor:
    """Centres of a map's positions in pixels of the input, ``(rows, columns, 2)``, x then y."""
    (rows, columns), (height, width) = grid, input_shape
    y = (torch.arange(rows, dtype=torch.float64, device=device) + 0.5) * (height / rows)
    x = (torch.arange(columns, dtype=torch.float64, device=device) + 0.5) * (width / columns)
    return torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)


def inside_boxes(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Whether points ``(..., 2)``, x then y, lie in any of the boxes, borders included.

    A box without an area is its border. A quadrilateral that crosses itself is the two triangles
    that are seen, and a box with a NaN or Inf has nothing in it. A ValueError for boxes of another
    format than those of :class:`ImageGeometry`.
    """
    if boxes.dim() != 2 or boxes.shape[1] not in (4, 5, 8):
        raise ValueError(
            'boxes must be (n, 4) corners, (n, 5) rotated or (n, 8) quadrilaterals, got '
            f'{tuple(boxes.shape)}'
        )
    found = torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    inside = {4: _in_upright, 5: _in_rotated, 8: _in_quadrilateral}[boxes.shape[1]]
    for box in boxes.to(points):  # one by one: a thousand boxes times a large map is memory
        found |= inside(points, box)
    return found


def _in_upright(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    return ((points >= box[:2]) & (points <= box[2:])).all(-1)


def _in_rotated(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    offset = points - box[:2]
    cos, sin = box[4].cos(), box[4].sin()
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    return (along.abs() <= box[2] / 2) & (across.abs() <= box[3] / 2)


def _in_quadrilateral(points: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    corners = box.view(4, 2)
    ends = corners.roll(-1, 0)
    edges = ends - corners
    offset = points[..., None, :] - corners
    # Left of the edge, seen along it, where positive; on its line, or the edge is a point, where 0.
    side = edges[:, 0] * offset[..., 1] - edges[:, 1] * offset[..., 0]
    point = points[..., None, :]
    within = (point >= torch.minimum(corners, ends)) & (point <= torch.maximum(corners, ends))
    border = ((side == 0) & within.all(-1)).any(-1)
    # A ray from the point towards larger x crosses the outline an odd number of times.
    above = corners[:, 1] > points[..., None, 1]
    crossed = (above != above.roll(-1, -1)) & ((side > 0) == (edges[:, 1] > 0))
    return (border | (crossed.sum(-1) % 2 == 1)) & box.isfinite().all()


def position_mask(
    geometry: Sequence[ImageGeometry],
    grid: tuple[int, int],
    region: Optional[str] = None,
    device: Any = None,
) -> Optional[torch.Tensor]:
    """Positions of a feature map that count, bool of shape ``(images, rows, columns)``.

    A position belongs to where its centre lies, mapped to the input by the ratio of sizes. The
    background is what is image and in no box, ignored ones included. None if all positions count.
    A ValueError if a region is wanted and an image has no ground truth, or is unknown.
    """
    check_region(region)
    if region is None and not any(image.padded for image in geometry):
        return None
    return torch.stack([_mask_of_image(g, grid, region, device) for g in geometry])


def class_masks(
    geometry: Sequence[ImageGeometry], grid: tuple[int, int], device: Any = None
) -> dict[int, torch.Tensor]:
    """By class of the segmentation labels the positions, bool of shape ``(images, rows, columns)``.

    A position has the class of the pixel that its centre lies in; padding and what is not labelled
    (255) have none. A ValueError if an image has no labels.
    """
    found = torch.stack([_labels_at_positions(g, grid, device) for g in geometry])
    return {n: found == n for n in found.unique().tolist() if n not in (-1, UNLABELLED)}


def _labels_at_positions(image: ImageGeometry, grid: tuple[int, int], device: Any) -> torch.Tensor:
    if image.labels is None:
        raise ValueError(
            f'{image.name or "an image"} has no segmentation labels, which {CLASSES!r} needs: '
            "take a segmentor's images, with LoadAnnotations in their pipeline"
        )
    labels = image.labels.to(device)
    rows, columns = labels.shape
    # Labels that were loaded after the picture was resized are as large as the file.
    covers = image.input_shape if labels.shape == image.input_shape else image.image_shape
    points = centers(grid, image.input_shape, device)
    x = (points[..., 0] * (columns / covers[1])).long()
    y = (points[..., 1] * (rows / covers[0])).long()
    inside = _mask_of_image(image, grid, None, device)
    return torch.where(inside, labels[y.clamp(max=rows - 1), x.clamp(max=columns - 1)].long(), -1)


def check_region(region: Optional[str]) -> None:
    """Refuses what is none of ``'foreground'``, ``'background'``, ``'classes'`` and None."""
    if region is not None and region not in REGIONS:
        raise ValueError(f'foreground must be None or one of {REGIONS}, got {region!r}')


def _mask_of_image(
    image: ImageGeometry, grid: tuple[int, int], region: Optional[str], device: Any
) -> torch.Tensor:
    points = centers(grid, image.input_shape, device)
    height, width = image.image_shape
    mask = (points[..., 0] < width) & (points[..., 1] < height)
    if region is None:
        return mask
    if image.boxes is None:
        raise ValueError(
            f'{image.name or "an image"} has no ground-truth boxes, which {region!r} needs: take '
            "images that are annotated, with LoadAnnotations in their pipeline; of a segmentor's "
            f'labels {CLASSES!r} takes each class'
        )
    objects = inside_boxes(points, image.boxes)
    if region == 'foreground':
        return mask & objects
    if image.ignored is not None:
        objects |= inside_boxes(points, image.ignored)
    return mask & ~objects


def token_grid(length: int, input_shape: tuple[int, int]) -> Optional[tuple[int, int]]:
    """Rows and columns of a map whose positions come as a row of tokens.

    That of the stride, a power of two, that gives as many positions as there are tokens; None if
    there is none (a class token among them, for instance).
    """
    height, width = input_shape
    stride = 1
    while stride <= max(height, width):
        grid = (-(-height // stride), -(-width // stride))
        if grid[0] * grid[1] == length:
            return grid
        stride *= 2
    return None


def geometry_of(batch: Any) -> Optional[list[ImageGeometry]]:
    """Geometry of a preprocessed batch of the OpenMMLab kind, else None.

    That is a dict with ``inputs`` and ``data_samples``; a sample has ``metainfo`` with
    ``img_shape`` and, where there is ground truth, ``gt_instances.bboxes``, or ``gt_sem_seg.data``
    ``(1, H, W)`` as MMSegmentation has it.
    """
    parts = batch if isinstance(batch, dict) else {}
    samples, inputs = parts.get('data_samples'), parts.get('inputs')
    if not samples or not isinstance(inputs, torch.Tensor):
        return None
    shape = cast(tuple[int, int], tuple(inputs.shape[-2:]))
    return [_geometry(sample, shape) for sample in samples]


def _geometry(sample: Any, shape: tuple[int, int]) -> ImageGeometry:
    info = getattr(sample, 'metainfo', {})
    name = info.get('img_path') or info.get('img_id')
    labels = getattr(getattr(sample, 'gt_sem_seg', None), 'data', None)
    return ImageGeometry(
        input_shape=shape,
        image_shape=tuple(info.get('img_shape', shape))[:2],
        boxes=_boxes(getattr(sample, 'gt_instances', None)),
        ignored=_boxes(getattr(sample, 'ignored_instances', None)),
        name='' if name is None else str(name),
        labels=None if labels is None else labels[0],
    )


def _boxes(instances: Any) -> Optional[torch.Tensor]:
    boxes = getattr(instances, 'bboxes', None)
    return getattr(boxes, 'tensor', boxes)
