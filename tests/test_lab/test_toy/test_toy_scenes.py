import cv2
import numpy as np
import pytest

from mmbackbone_plugins.lab.toy import CLASSES, STYLES, draw_scene
from mmbackbone_plugins.lab.toy.canvas import blank, shrink
from mmbackbone_plugins.lab.toy.classes import select_classes
from mmbackbone_plugins.lab.toy.layout import ToyObject, plan_scene
from mmbackbone_plugins.lab.toy.scenes import object_mask, paint_object
from mmbackbone_plugins.lab.toy.seeding import SPLITS, scene_rng
from mmbackbone_plugins.lab.toy.shapes import SHAPES

SIZE = 192
FEW = select_classes('dota')


def objects_of(shape, count=6):
    """Objects of one shape at several angles, well inside a large picture."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(40):
        for group in plan_scene(rng, 512, {'thing': (shape,)}, 8.0):
            found += [item for item in group.objects if not item.truncated]
        if len(found) >= count:
            break
    return found[:count]


def corner_frame(item: ToyObject, points: np.ndarray) -> np.ndarray:
    """Coordinates of points along the box (0 at the tail-left corner), in pixels."""
    origin = item.box[3]
    axes = np.stack([item.box[0] - item.box[3], item.box[2] - item.box[3]])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return (points - origin) @ axes.T


def box_sides(item):
    return (np.linalg.norm(item.box[0] - item.box[3]), np.linalg.norm(item.box[2] - item.box[3]))


@pytest.mark.parametrize('name', list(SHAPES))
def test_boxes_are_tight(name):
    """What a shape really paints fills its box to all four sides and never leaves it."""
    items = objects_of(name)
    assert len(items) >= 3
    for item in items:
        # Painted on black with all colours brightened: every changed pixel belongs to the object.
        canvas = blank(512, 3)
        bright = [type(p)(p.points, (255, 255, 255)) for p in item.parts]
        paint_object(canvas, ToyObject(**{**vars(item), 'parts': bright}))
        painted = shrink(canvas)[..., 0] > 96
        assert painted.sum() > 20
        rows, columns = np.nonzero(painted)
        pixels = corner_frame(item, np.stack([columns, rows], 1) + 0.5)
        length, width = box_sides(item)
        assert pixels.min() > -0.8
        assert pixels[:, 0].max() < length + 0.8 and pixels[:, 1].max() < width + 0.8
        # Pointed ends (a bow, a wing tip) may fade in the last two pixels.
        assert pixels.min(0).max() < 2.5
        assert pixels[:, 0].max() > length - 2.5 and pixels[:, 1].max() > width - 2.5


@pytest.mark.parametrize('name', list(SHAPES))
def test_mask_is_what_is_painted(name):
    item = objects_of(name, 1)[0]
    canvas = blank(512, 3)
    paint_object(canvas, item)
    painted = shrink(canvas).max(-1) > 0
    mask = object_mask(item, 512)
    assert not (mask & ~painted).any()
    fringe = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
    assert not (painted & ~fringe).any() or name in ('windmill', 'helicopter')


def test_boxes_run_clockwise_from_the_left_of_the_head():
    for item in objects_of('plane'):
        head, side = item.box[0] - item.box[3], item.box[1] - item.box[0]
        heading = np.array([np.cos(item.angle), np.sin(item.angle)])
        assert head @ heading > 0
        # The image's y axis points down, so a positive cross product is clockwise on the screen.
        assert head[0] * side[1] - head[1] * side[0] > 0


def test_headings_cover_the_circle_and_round_things_have_none():
    planes = [o.angle % (2 * np.pi) for o in objects_of('plane', 40)]
    assert len({int(a / (np.pi / 2)) for a in planes}) == 4
    assert {o.angle for o in objects_of('storage_tank', 20)} == {0.0}


def test_scene_depends_on_its_own_number_only():
    one = draw_scene(3, 'val', 5, SIZE, FEW)
    for i in (0, 9):
        draw_scene(3, 'val', i, SIZE, FEW)
    again = draw_scene(3, 'val', 5, SIZE, FEW)
    assert np.array_equal(one.image, again.image)
    others = [draw_scene(3, 'train', 5, SIZE, FEW), draw_scene(4, 'val', 5, SIZE, FEW)]
    assert all(not np.array_equal(one.image, other.image) for other in others)


@pytest.mark.parametrize('style', [name for name in STYLES if name != 'clear'])
def test_style_changes_looks_and_not_geometry(style):
    for index in range(3):
        plain = draw_scene(0, 'train', index, SIZE, FEW)
        styled = draw_scene(0, 'train', index, SIZE, FEW, style=style)
        assert styled.image.shape == plain.image.shape and styled.image.dtype == np.uint8
        assert [o.label for o in plain.objects] == [o.label for o in styled.objects]
        for a, b in zip(plain.objects, styled.objects):
            assert np.array_equal(a.box, b.box)
        difference = np.abs(plain.image.astype(int) - styled.image).mean()
        assert difference > 4


def test_objects_do_not_overlap_and_lie_mostly_inside():
    for index in range(15):
        scene = draw_scene(1, 'train', index, SIZE, FEW, density=20)
        masks = [object_mask(item, SIZE) for item in scene.objects]
        total = sum((mask.astype(int) for mask in masks), np.zeros((SIZE, SIZE), int))
        assert total.max(initial=0) <= 1
        for item in scene.objects:
            assert 0 < item.box.mean(0).min() and item.box.mean(0).max() < SIZE
            inside = ((item.box >= 0) & (item.box <= SIZE)).all()
            assert inside or item.truncated


def test_density_raises_the_number_of_objects():
    few, many = (
        sum(len(draw_scene(0, 'train', i, SIZE, FEW, density).objects) for i in range(12))
        for density in (2, 16)
    )
    assert many > 2 * few > 0


def test_some_pictures_are_background_and_some_objects_difficult():
    plans = [plan_scene(scene_rng(0, 'train', i, 'layout'), 256, FEW, 8.0) for i in range(300)]
    empty = sum(not plan for plan in plans) / len(plans)
    assert 0.01 < empty < 0.12
    objects = [item for plan in plans for group in plan for item in group.objects]
    assert 0.01 < np.mean([item.difficult for item in objects]) < 0.15
    assert {item.label for item in objects} == set(FEW)


def test_streams_are_independent():
    draws = {
        scene_rng(0, split, index, stream).integers(2**60)
        for split in SPLITS
        for index in range(4)
        for stream in ('layout', 'ground', 'style')
    }
    assert len(draws) == 3 * 4 * 3


@pytest.mark.parametrize('fmt', list(CLASSES))
def test_every_class_can_be_drawn(fmt):
    for name, shapes in CLASSES[fmt].items():
        scenes = [draw_scene(0, 'train', i, SIZE, {name: shapes}, 16) for i in (0, 1)]
        assert {o.label for s in scenes for o in s.objects} == {name}
        assert {o.shape for s in scenes for o in s.objects} <= set(shapes)
