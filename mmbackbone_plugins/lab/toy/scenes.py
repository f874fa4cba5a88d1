"""Draws one scene: ground, shadows, clutter, objects and foliage over them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import OVERSAMPLING, blank, blend, fill, polygon_mask, shrink
from .clutter import Clutter, foliage_parts, paint_parts, scatter_clutter
from .geometry import to_image
from .ground import paint_ground
from .layout import Group, ToyObject, plan_scene
from .seeding import scene_rng
from .shapes import SHAPES
from .styles import STYLES, Layers

_SHADE = 0.55


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    Attributes:
        image: uint8 BGR of shape (size, size, 3), as OpenCV writes it.
        objects: What is labelled, in the order in which it was painted.
        style: Visual style.
    """

    image: np.ndarray
    objects: list[ToyObject]
    style: str


def draw_scene(
    seed: int,
    split: str,
    index: int,
    size: int,
    classes: dict[str, Sequence[str]],
    density: float = 8.0,
    style: str = 'clear',
) -> Scene:
    """Draws the scene with that number.

    Equal arguments give equal pixels. Another style gives the same objects in the same places.

    Args:
        seed: Seed of the data set.
        split: 'train', 'val' or 'test'.
        index: Position in the split, from 0.
        size: Side of the picture in pixels.
        classes: Shape names by class name.
        density: Mean number of objects on 256 x 256 pixels.
        style: A key of :data:`STYLES`.

    Returns:
        The picture and its objects.

    Examples:
        >>> from mmbackbone_plugins.lab.toy import draw_scene
        >>> scene = draw_scene(seed=0, split='train', index=0, size=128, classes={'ship': ['ship']})
        >>> scene.image.shape, {item.label for item in scene.objects}
        ((128, 128, 3), {'ship'})
    """
    groups = plan_scene(scene_rng(seed, split, index, 'layout'), size, classes, density)
    layers = _paint(scene_rng(seed, split, index, 'ground'), size, groups)
    image = STYLES[style](layers, scene_rng(seed, split, index, 'style'))
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
    objects = [item for group in groups for item in group.objects]
    return Scene(np.ascontiguousarray(image[..., ::-1]), objects, style)


def paint_object(canvas: np.ndarray, item: ToyObject) -> None:
    """Paints one object on a large uint8 canvas (RGB, or a mask that its colours fill)."""
    for part in item.parts:
        fill(canvas, to_image(part.points, item.center, item.angle), part.color)


def object_mask(item: ToyObject, size: int) -> np.ndarray:
    """Returns which pixels an object covers, as a bool array of shape (size, size)."""
    polygons = [to_image(part.points, item.center, item.angle) for part in item.parts]
    return shrink(polygon_mask(size, polygons)) > 0.5


def _paint(rng: np.random.Generator, size: int, groups: Sequence[Group]) -> Layers:
    """Paints everything but the style."""
    ground = paint_ground(rng, size, groups)
    clutter = scatter_clutter(rng, size, groups, ground.water, ground.theme.foliage)
    turn = float(rng.uniform(0, 2 * np.pi))
    sun = np.array([np.cos(turn), np.sin(turn)])
    shade = polygon_mask(size, _shadows(groups, clutter, sun), blur=0.7)
    tint = np.float32([0.94, 0.98, 1.08]) * np.float32(_SHADE)  # the sky lights shade, bluish
    image = blend(ground.image, ground.image * tint, shade)
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    for thing in clutter:
        paint_parts(canvas, thing.parts)
    objects = [item for group in groups for item in group.objects]
    covered = blank(size)
    for item in objects:
        paint_object(canvas, item)
        for part in item.parts:
            fill(covered, to_image(part.points, item.center, item.angle), (255,))
    for item in objects:
        for x, y, radius in item.canopy:
            paint_parts(canvas, foliage_parts(rng, x, y, radius, ground.theme.foliage))
    # Light dirt and wear, so that flat paint does not give an object away.
    side = size * OVERSAMPLING
    grain = rng.standard_normal((side, side, 1), dtype=np.float32) * 5
    picture = shrink(canvas.astype(np.float32) + grain)
    return Layers(
        image=picture,
        objects=shrink(covered.astype(np.float32) / 255),
        water=shrink(ground.water),
    )


def _shadows(
    groups: Sequence[Group], clutter: Sequence[Clutter], sun: np.ndarray
) -> list[np.ndarray]:
    """Returns the outlines of all shadows: each body, moved away from the sun in small steps."""
    polygons: list[np.ndarray] = []
    for group in groups:
        for item in group.objects:
            height = SHAPES[item.shape].height
            if height <= 0:
                continue
            for part in item.parts:
                points = to_image(part.points, item.center, item.angle)
                polygons += [points + sun * step for step in np.arange(height, 0, -2.0)]
    for thing in clutter:
        if thing.height > 0:
            steps = np.arange(thing.height, 0, -2.0)
            polygons += [thing.parts[0].points + sun * step for step in steps]
    return polygons
