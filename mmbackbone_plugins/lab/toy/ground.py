"""Paints what lies under the objects: land, fields, roads and the pads of the groups."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .canvas import OVERSAMPLING, blend, lay, polygon_mask
from .geometry import grown, overlaps, rectangle, to_image
from .layout import Group
from .seeding import fractal_noise, soft_step
from .shapes import SHAPES
from .shapes.base import line

Color = tuple[float, float, float]


class Theme(NamedTuple):
    """RGB colours of one kind of landscape."""

    base: Color
    patch: Color
    foliage: Color
    water: Color
    crops: tuple[Color, ...]


THEMES: dict[str, Theme] = {
    'meadow': Theme(
        *((104, 122, 76), (136, 134, 92), (52, 78, 46), (58, 82, 92)),
        ((122, 140, 72), (158, 146, 96), (88, 116, 64), (140, 120, 84)),
    ),
    'dry': Theme(
        *((168, 148, 114), (134, 122, 88), (86, 96, 62), (86, 106, 98)),
        ((182, 160, 120), (150, 134, 96), (120, 122, 80), (190, 176, 144)),
    ),
    'town': Theme(
        *((134, 130, 122), (108, 116, 92), (60, 82, 52), (62, 78, 82)),
        ((98, 116, 78), (146, 140, 130), (124, 122, 116), (112, 126, 88)),
    ),
    'coast': Theme(
        *((178, 168, 142), (120, 128, 92), (70, 92, 56), (46, 92, 112)),
        ((146, 150, 104), (194, 184, 158), (112, 126, 84), (164, 150, 120)),
    ),
}

# Colour and grain of what a group stands on. Water, rivers and junctions are painted on their own.
PADS: dict[str, tuple[tuple[Color, ...], float]] = {
    'concrete': (((176, 174, 168), (196, 192, 182), (158, 160, 162)), 5.0),
    'asphalt': (((96, 96, 98), (118, 116, 112), (80, 82, 86)), 5.0),
    'gravel': (((176, 164, 140), (152, 144, 130), (190, 180, 158)), 9.0),
    'paved': (((150, 146, 136), (118, 132, 96), (170, 160, 142)), 6.0),
    'grass': (((106, 138, 78), (124, 146, 88), (92, 124, 70)), 6.0),
}

# Some groups stand on bare land.
_BARE_SHARE = 0.25


class Ground(NamedTuple):
    """The painted ground (float32 RGB, large canvas), its water and its landscape."""

    image: np.ndarray
    water: np.ndarray
    theme: Theme


def paint_ground(rng: np.random.Generator, size: int, groups: Sequence[Group]) -> Ground:
    """Paints the ground of a scene; most groups of objects get a pad to stand on."""
    theme = list(THEMES.values())[int(rng.integers(len(THEMES)))]
    side = size * OVERSAMPLING
    image = np.empty((side, side, 3), np.float32)
    image[:] = theme.base
    coarse = fractal_noise(rng, side, side / 2.5, 6)
    image = blend(image, np.float32(theme.patch), soft_step(coarse, rng.uniform(-0.3, 0.8), 0.5))
    _fields(rng, image, size, theme)
    scrub = soft_step(fractal_noise(rng, side, 46, 4), 1.15, 0.5)
    image = blend(image, np.float32(theme.foliage), scrub * np.float32(0.8))
    grain = fractal_noise(rng, side, 20, 4)
    image += (grain * np.float32(rng.uniform(4, 9)))[..., None]
    # Empty pads and ponds: the ground alone must not tell a detector where the objects are.
    everything = list(groups) + _decoys(rng, size, groups)
    shores = [_shore(rng, g) for g in everything if g.shape.ground in ('water', 'river')]
    _roads(rng, image, size, groups)
    water = polygon_mask(size, shores, blur=1.2)
    image = _water(rng, image, water, theme, grain)
    for group in everything:
        if group.shape.ground == 'water' or rng.random() > _BARE_SHARE:
            _pad(rng, image, group, grain)
    image += np.float32(rng.normal(0, 14))
    image *= np.float32(rng.uniform(0.82, 1.12))
    return Ground(image, water, theme)


def _decoys(rng: np.random.Generator, size: int, groups: Sequence[Group]) -> list[Group]:
    """Returns groups without objects, on free ground."""
    decoys: list[Group] = []
    kinds = [SHAPES[name] for name in ('plane', 'ship', 'large_vehicle', 'storage_tank')]
    for _ in range(int(rng.poisson(1.5 * size * size / 65536))):
        shape = kinds[int(rng.integers(len(kinds)))]
        angle = float(rng.uniform(0, np.pi))
        spot = tuple(rng.uniform(0, size, 2))
        pad = to_image(rectangle(*rng.uniform(30, 80, 2)), spot, angle)
        if not any(overlaps(grown(pad, 16), other.pad) for other in list(groups) + decoys):
            decoys.append(Group(shape, angle, pad))
    return decoys


def _fields(rng: np.random.Generator, image: np.ndarray, size: int, theme: Theme) -> None:
    """Lays a few ploughed or mown fields with furrows."""
    for _ in range(int(rng.integers(1, 3 + size // 128))):
        angle = float(rng.uniform(0, np.pi))
        spot = tuple(rng.uniform(0, size, 2))
        corners = rectangle(*rng.uniform(40, 120, 2)) + rng.uniform(-9, 9, (4, 2))
        color = np.float32(theme.crops[int(rng.integers(len(theme.crops)))])
        normal = np.float32([np.sin(angle), -np.cos(angle)]) * np.float32(
            2 * np.pi / rng.uniform(3, 9) / OVERSAMPLING
        )
        depth = np.float32(rng.uniform(0, 9))

        def furrows(region, color=color, normal=normal, depth=depth):
            rows, columns = np.ogrid[region]
            phase = columns.astype(np.float32) * normal[0] + rows.astype(np.float32) * normal[1]
            return color + (np.sin(phase) * depth)[..., None]

        field = to_image(corners, spot, angle)
        lay(image, [field], furrows, blur=0.8, strength=float(rng.uniform(0.55, 0.95)))


def _roads(rng: np.random.Generator, image: np.ndarray, size: int, groups: Sequence[Group]) -> None:
    """Draws roads across the picture, over bridges and into roundabouts."""
    strokes: list[tuple[np.ndarray, float]] = []
    for _ in range(int(rng.integers(0, 3))):
        turn, middle = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9, 2) * size
        reach = np.array([np.cos(turn), np.sin(turn)]) * size * 1.5
        bend = rng.normal(0, 0.12 * size, 2)
        width = float(rng.uniform(7, 15))
        path = [middle - reach, middle + bend, middle + reach + bend]
        strokes += [(np.array(path[i : i + 2]), width) for i in (0, 1)]
    for group in groups:
        center = group.pad.mean(0)
        if group.shape.ground == 'river':
            ahead = np.array([np.cos(group.angle), np.sin(group.angle)])
            deck = np.linalg.norm(group.objects[0].box[1] - group.objects[0].box[0])
            strokes.append((np.array([center - ahead * 2 * size, center + ahead * 2 * size]), deck))
        elif group.shape.ground == 'junction':
            for turn in group.angle + np.pi / 2 * np.arange(int(rng.integers(2, 5))):
                ahead = np.array([np.cos(turn), np.sin(turn)])
                strokes.append((np.array([center, center + ahead * 1.5 * size]), 13.0))
    for path, width in strokes:
        gray = rng.uniform(88, 150)
        lay(image, [line(path[0], path[1], width + 5)], (158, 150, 132), blur=1.0, strength=0.7)
        lay(image, [line(path[0], path[1], width)], (gray, gray - 1, gray - 4), blur=0.3)
        along = path[1] - path[0]
        dashes = np.arange(0, 1, 9 / max(float(np.linalg.norm(along)), 9))
        marks = [line(path[0] + along * t, path[0] + along * (t + 0.006), 0.8) for t in dashes]
        lay(image, marks, (222, 218, 196))


def _shore(rng: np.random.Generator, group: Group) -> np.ndarray:
    """Returns the outline of the water around a group as an irregular smooth polygon."""
    pad = group.pad
    length = np.linalg.norm(pad[0] - pad[3]) / 2
    width = np.linalg.norm(pad[1] - pad[0]) / 2
    if group.shape.ground == 'river':
        # A river passes under the bridge: narrow along it, long across.
        length, width, power = length * 0.8, width * 6 + 60, 6.0
    else:
        length, width, power = length + 14, width + 14, 4.0
    turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    cos, sin = np.cos(turns), np.sin(turns)
    radius = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    waves = 1 + sum(
        rng.uniform(0, 0.03) * np.cos(k * turns + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5, 8)
    )
    outline = np.stack([cos * length, sin * width], 1) * (radius * waves)[:, None]
    return to_image(outline, tuple(pad.mean(0)), group.angle)


def _water(rng: np.random.Generator, image: np.ndarray, water, theme, grain) -> np.ndarray:
    """Fills the water mask with depth, ripples and a pale shore."""
    color = np.float32(theme.water) + np.float32(rng.normal(0, 10))
    ripples = grain * np.float32(rng.uniform(2, 7))
    if not water.any():
        return image
    shore = np.clip(water * (1 - water) * 4, 0, 1)
    image = blend(image, color + ripples[..., None], water)
    return blend(image, np.float32([190, 182, 158]), shore * np.float32(0.6))


def _pad(rng: np.random.Generator, image: np.ndarray, group: Group, grain: np.ndarray) -> None:
    """Paves the ground under one group and paints the markings that belong there."""
    kind = group.shape.ground
    if kind not in PADS:
        return
    colors, roughness = PADS[kind]
    color = np.float32(colors[int(rng.integers(len(colors)))]) + np.float32(rng.normal(0, 8))
    quad = grown(group.pad, float(rng.uniform(-3, 5)))
    soft = 2.0 if kind in ('grass', 'gravel') else 0.5
    lay(image, [quad], lambda region: color + (grain[region] * roughness)[..., None], blur=soft)
    if kind == 'asphalt':
        slots = [grown(item.box, 2.0) for item in group.objects]
        marks = [line(slot[i], slot[j], 0.7) for slot in slots for i, j in ((0, 3), (1, 2))]
        lay(image, marks, (216, 214, 204), strength=0.75)
    elif kind == 'concrete':
        marks = []
        for share in np.arange(0.1, 1.0, 0.16):
            for a, b, c, d in ((0, 1, 3, 2), (0, 3, 1, 2)):
                start = quad[a] + (quad[b] - quad[a]) * share
                end = quad[c] + (quad[d] - quad[c]) * share
                marks.append(line(start, end, 0.6))
        lay(image, marks, color * np.float32(0.82), strength=0.75)
