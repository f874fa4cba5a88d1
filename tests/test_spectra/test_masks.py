"""Foreground, background and padding against a look at every position."""

import math

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmbackbone_plugins.spectra import ImageGeometry, geometry_of, position_mask
from mmbackbone_plugins.spectra.masks import class_masks, token_grid

INPUT, GRID = (96, 160), (12, 20)


def inside(x, y, box):
    """One point, one box, in words."""
    if len(box) == 4:
        return box[0] <= x <= box[2] and box[1] <= y <= box[3]
    if len(box) == 5:
        cx, cy, w, h, angle = box
        turned = complex(x - cx, y - cy) * complex(math.cos(angle), -math.sin(angle))
        return abs(turned.real) <= w / 2 and abs(turned.imag) <= h / 2
    corners = [complex(*box[i : i + 2]) for i in range(0, 8, 2)]
    around = sum(
        np.angle((b - complex(x, y)) / (a - complex(x, y)))
        for a, b in zip(corners, corners[1:] + corners[:1])
    )
    return abs(around) > math.pi  # the winding number is 1 or -1


def naive(geometry, grid, region):
    mask = np.zeros((len(geometry), *grid), dtype=bool)
    for n, image in enumerate(geometry):
        for row in range(grid[0]):
            for column in range(grid[1]):
                x = (column + 0.5) * image.input_shape[1] / grid[1]
                y = (row + 0.5) * image.input_shape[0] / grid[0]
                shown = y < image.image_shape[0] and x < image.image_shape[1]
                objects = any(inside(x, y, b.tolist()) for b in image.boxes)
                ignored = any(inside(x, y, b.tolist()) for b in image.ignored)
                wanted = {
                    None: True,
                    'foreground': objects,
                    'background': not objects and not ignored,
                }[region]
                mask[n, row, column] = shown and wanted
    return mask


def rotated(number, seed):
    g = torch.Generator().manual_seed(seed)
    place = torch.rand(number, 2, generator=g) * torch.tensor([150.0, 90.0])
    size = 5 + torch.rand(number, 2, generator=g) * 60
    return torch.cat([place, size, (torch.rand(number, 1, generator=g) - 0.5) * 6], dim=1)


def boxes_of(kind, number, seed):
    from mmrotate.structures import RotatedBoxes

    boxes = RotatedBoxes(rotated(number, seed))
    if kind == 'rotated':
        return boxes
    if kind == 'quadrilateral':
        return boxes.convert_to('qbox')
    return boxes.convert_to('hbox').tensor


def sample(kind, seed, image_shape):
    found = DetDataSample(metainfo=dict(img_shape=image_shape, img_id=seed))
    found.gt_instances = InstanceData(bboxes=boxes_of(kind, 4, seed))
    found.ignored_instances = InstanceData(bboxes=boxes_of(kind, 2, seed + 50))
    return found


@pytest.mark.parametrize('region', [None, 'foreground', 'background'])
@pytest.mark.parametrize('kind', ['upright', 'rotated', 'quadrilateral'])
def test_against_every_position(kind, region):
    samples = [sample(kind, 1, (96, 160)), sample(kind, 2, (70, 131)), sample(kind, 3, (96, 40))]
    geometry = geometry_of(dict(inputs=torch.zeros(3, 3, *INPUT), data_samples=samples))
    for grid in (GRID, (3, 5), (1, 2)):
        mask = position_mask(geometry, grid, region)
        np.testing.assert_array_equal(mask.numpy(), naive(geometry, grid, region))
    assert 0.02 < position_mask(geometry, GRID, region).double().mean() < 0.98


SQUARE = [20, 20, 60, 20, 60, 60, 20, 60]  # clockwise, as pictures are seen


def marked(box, grid=(16, 16), size=(128, 128)):
    geometry = ImageGeometry(size, size, torch.tensor([box], dtype=torch.float32))
    return position_mask([geometry], grid, 'foreground')[0]


@pytest.mark.parametrize(
    ('box', 'positions'),
    [
        ([30.0, 30.0] * 4, []),
        ([36.0, 44.0] * 4, [(5, 4)]),  # on the centre of a position
        ([20.0, 30, 60, 30, 60, 30, 20, 30], []),
        ([20.0, 28, 60, 28, 60, 28, 20, 28], [(3, c) for c in range(2, 8)]),
        ([10.0, 10, 50, 50, 10, 10, 50, 50], [(i, i) for i in range(1, 6)]),  # along a diagonal
        ([math.nan] + SQUARE[1:], []),
        ([math.nan] * 8, []),
        ([math.inf] + SQUARE[1:], []),
    ],
)
def test_quadrilaterals_without_an_area(box, positions):
    assert marked(box).nonzero().tolist() == [list(p) for p in positions]


def test_quadrilaterals_of_any_sense_and_those_that_touch_themselves():
    square = marked(SQUARE)
    assert torch.equal(square, marked([20.0, 20, 60, 60]))  # as an upright box
    counter = [c for i in (3, 2, 1, 0) for c in SQUARE[2 * i : 2 * i + 2]]
    assert torch.equal(square, marked(counter))
    x, y = np.meshgrid(np.arange(16) * 8 + 4, np.arange(16) * 8 + 4)
    inside = square.numpy()
    crossed = SQUARE[:2] + SQUARE[4:6] + SQUARE[2:4] + SQUARE[6:]  # two triangles, tip to tip
    tips = inside & (abs(x - 40) >= abs(y - 40))
    np.testing.assert_array_equal(marked(crossed).numpy(), tips)
    triangle = SQUARE[:4] + SQUARE[4:6] + SQUARE[4:6]  # two corners in one place
    np.testing.assert_array_equal(marked(triangle).numpy(), inside & (x >= y))
    arrow = [20, 20, 60, 20, 30, 30, 20, 60]  # a corner that points inwards
    half = inside & ((x - 20) + (y - 20) <= 40)
    assert 0 < int(marked(arrow).sum()) < half.sum()
    assert not (marked(arrow).numpy() & ~half).any()


@pytest.mark.parametrize('box', [[math.nan] * 4, [50.0, 50, 20, 20], [40.0, 40, -9, 9, 0.1]])
def test_other_boxes_that_hold_nothing(box):
    assert not marked(box).any()


def test_rotated_boxes_are_mmrotates():
    """The sense of the angle is that of mmrotate's own boxes."""
    boxes = boxes_of('rotated', 5, 7)
    geometry = [ImageGeometry(INPUT, INPUT, boxes.tensor)]
    mask = position_mask(geometry, (96, 160), 'foreground')[0]
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(160) + 0.5, indexing='ij')
    points = torch.stack([x, y], -1).view(-1, 2)
    theirs = boxes.find_inside_points(points, eps=0).any(1).view(96, 160)
    assert (mask != theirs).double().mean() < 1e-4  # float32 at a border
    assert mask.double().mean() > 0.05


def test_nothing_to_mask_is_no_mask():
    image = ImageGeometry((64, 64), (64, 64))
    assert position_mask([image], (8, 8)) is None and not image.padded
    assert position_mask([image, ImageGeometry((64, 64), (64, 32))], (8, 8)).sum() == 64 + 32


def test_tokens_have_the_grid_of_a_stride():
    assert token_grid(12 * 20, (96, 160)) == (12, 20)
    assert token_grid(3 * 5, (96, 160)) == (3, 5)
    assert token_grid(4 * 6, (100, 170)) == (4, 6)  # odd rows are padded
    assert token_grid(12 * 20 + 1, (96, 160)) is None  # a class token


def test_bad_input():
    image = ImageGeometry((64, 64), (64, 64), name='a.png')
    with pytest.raises(ValueError, match='a.png has no ground-truth boxes.*LoadAnnotations'):
        position_mask([image], (8, 8), 'foreground')
    with pytest.raises(ValueError, match="foreground must be None or one of .*, got 'objects'"):
        position_mask([image], (8, 8), 'objects')
    with pytest.raises(ValueError, match=r'boxes must be .* got \(2, 6\)'):
        position_mask([ImageGeometry((64, 64), (64, 64), torch.zeros(2, 6))], (8, 8), 'background')


@pytest.mark.parametrize('of', ['input', 'file'])
def test_classes_against_every_position(of):
    """Labels of the padded input, or of the picture's file before it was resized."""
    shown = (70, 131)
    size = INPUT if of == 'input' else (2 * shown[0], 2 * shown[1])
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, size, generator=generator, dtype=torch.uint8)
    labels[labels == 3] = 255
    image = ImageGeometry(INPUT, shown, labels=labels)
    expected = {n: np.zeros(GRID, dtype=bool) for n in range(3)}
    for row, column in np.ndindex(*GRID):
        y, x = (row + 0.5) * INPUT[0] / GRID[0], (column + 0.5) * INPUT[1] / GRID[1]
        scale = 1 if of == 'input' else 2
        if y < shown[0] and x < shown[1]:
            label = int(labels[int(y * scale), int(x * scale)])
            if label != 255:
                expected[label][row, column] = True
    found = class_masks([image], GRID)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[n][0].numpy(), expected[n]) for n in expected)


def test_classes_without_segmentation_labels():
    with pytest.raises(ValueError, match='scene.png has no segmentation labels'):
        class_masks([ImageGeometry(INPUT, INPUT, name='scene.png')], GRID)
