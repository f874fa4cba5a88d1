"""Draws one scene: ground, shadows, clutter, objects and foliage over them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import OVERSAMPLING, blank, blend, fill, polygon_mask, shrink
from .clutter import Clutter, foliage_parts, scatter_clutter
from .geometry import to_image
from .ground import paint_ground
from .layout import Group, ToyObject, plan_scene
from .seeding import scene_rng
from .shapes import SHAPES, Part
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


def parts_of(item: ToyObject) -> list[Part]:
    """The parts of an object in image coordinates."""
    return [Part(to_image(p.points, item.center, item.angle), p.color) for p in item.parts]


def paint(canvas: np.ndarray, parts: Sequence[Part]) -> None:
    """Fills parts on a large uint8 canvas (RGB, or a mask that their colours fill)."""
    for part in parts:
        fill(canvas, part.points, part.color)


def object_mask(item: ToyObject, size: int) -> np.ndarray:
    """Returns which pixels an object covers, as a bool array of shape (size, size)."""
    return shrink(polygon_mask(size, [part.points for part in parts_of(item)])) > 0.5


def _paint(rng: np.random.Generator, size: int, groups: Sequence[Group]) -> Layers:
    """Paints everything but the style."""
    ground = paint_ground(rng, size, groups)
    clutter = scatter_clutter(rng, size, groups, ground.water, ground.theme.foliage)
    turn = float(rng.uniform(0, 2 * np.pi))
    sun = np.array([np.cos(turn), np.sin(turn)])
    objects = [item for group in groups for item in group.objects]
    shade = polygon_mask(size, _shadows(objects, clutter, sun), blur=0.7)
    tint = np.float32([0.94, 0.98, 1.08]) * np.float32(_SHADE)  # the sky lights shade, bluish
    image = blend(ground.image, ground.image * tint, shade)
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    for thing in clutter:
        paint(canvas, thing.parts)
    covered = blank(size)
    for part in (part for item in objects for part in parts_of(item)):
        fill(canvas, part.points, part.color)
        fill(covered, part.points, (255,))
    for x, y, radius in (disc for item in objects for disc in item.canopy):
        paint(canvas, foliage_parts(rng, x, y, radius, ground.theme.foliage))
    # Light dirt and wear, so that flat paint does not give an object away.
    side = size * OVERSAMPLING
    grain = rng.standard_normal((side, side, 1), dtype=np.float32) * 5
    picture = shrink(canvas.astype(np.float32) + grain)
    return Layers(picture, shrink(covered.astype(np.float32) / 255), shrink(ground.water))


def _shadows(
    objects: Sequence[ToyObject], clutter: Sequence[Clutter], sun: np.ndarray
) -> list[np.ndarray]:
    """Returns the outlines of all shadows: each body, moved away from the sun in small steps."""
    bodies = [(p.points, SHAPES[o.shape].height) for o in objects for p in parts_of(o)]
    bodies += [(thing.parts[0].points, thing.height) for thing in clutter]
    steps = [(points, sun * s) for points, height in bodies for s in np.arange(height, 0, -2.0)]
    return [points + step for points, step in steps]
