"""Sports grounds and pools: flat things with painted lines."""

import numpy as np

from ..geometry import ellipse, rectangle, rounded
from .base import Color, Part, line, pick, ring, shape, tone

_CHALK: Color = (234.0, 236.0, 234.0)


def _frame(length: float, width: float, stroke: float) -> list[Part]:
    """Returns the four painted lines of a rectangle."""
    a, b = length / 2, width / 2
    corners = [(a, -b), (a, b), (-a, b), (-a, -b)]
    return [Part(line(corners[i], corners[(i + 1) % 4], stroke), _CHALK) for i in range(4)]


@shape(ground='paved', pattern='row', members=(1, 3), gap=5, height=0)
def tennis_court(rng: np.random.Generator) -> list[Part]:
    """Coloured run-off, court of another colour, singles lines, service boxes and a net."""
    length = rng.uniform(48, 64)
    width = length * rng.uniform(0.5, 0.54)
    apron = pick(rng, [(64, 116, 76), (92, 104, 112), (150, 82, 62), (48, 98, 96)], 8)
    court = pick(rng, [(58, 92, 146), (70, 134, 84), (172, 92, 66)], 8)
    a, b = length * 0.33, width * 0.29
    parts = [
        Part(rectangle(length, width), apron),
        Part(rectangle(2 * a, 2 * b), court),
        *_frame(2 * a, 2 * b, 1.1),
        Part(line((-a, -b * 0.75), (a, -b * 0.75), 0.9), _CHALK),
        Part(line((-a, b * 0.75), (a, b * 0.75), 0.9), _CHALK),
        Part(line((-a * 0.54, 0), (a * 0.54, 0), 0.9), _CHALK),
    ]
    ends = [((x, -b * 0.75), (x, b * 0.75)) for x in (-a * 0.54, a * 0.54)]
    parts += [Part(line(*pair, 0.9), _CHALK) for pair in ends]
    return [*parts, Part(line((0, -b * 1.15), (0, b * 1.15), 1.0), (40.0, 44.0, 46.0))]


@shape(ground='paved', pattern='row', members=(1, 3), gap=5, height=0)
def basketball_court(rng: np.random.Generator) -> list[Part]:
    """Short court with a centre circle and two coloured keys."""
    length = rng.uniform(36, 48)
    width = length * rng.uniform(0.52, 0.58)
    floor = pick(rng, [(196, 122, 70), (72, 118, 92), (120, 124, 130), (186, 92, 72)], 8)
    key = pick(rng, [(166, 48, 44), (52, 78, 136), (222, 190, 90)], 8)
    a, b = length * 0.45, width * 0.43
    parts = [Part(rectangle(length, width), floor)]
    for side in (-1, 1):
        parts.append(Part(rectangle(a * 0.4, b * 0.7, side * a * 0.8), key))
        parts.append(Part(ellipse(a * 0.17, a * 0.17, side * a * 0.6), key))
    parts += _frame(2 * a, 2 * b, 1.0)
    parts.append(Part(line((0, -b), (0, b), 0.9), _CHALK))
    parts += ring(ellipse(a * 0.22, a * 0.22, count=20), 1.0, _CHALK)
    return parts


def _pitch(rng: np.random.Generator, length: float, width: float) -> list[Part]:
    """Returns a mown football pitch with its lines."""
    grass = pick(rng, [(78, 132, 62), (96, 142, 74), (64, 116, 60)], 7)
    parts = [Part(rectangle(length, width), grass)]
    stripes = 10
    for i in range(0, stripes, 2):
        x = (i + 0.5) / stripes * length - length / 2
        parts.append(Part(rectangle(length / stripes, width, x), tone(grass, 1.13)))
    a, b = length * 0.46, width * 0.44
    parts += _frame(2 * a, 2 * b, 1.2)
    parts.append(Part(line((0, -b), (0, b), 1.1), _CHALK))
    parts += ring(ellipse(b * 0.28, b * 0.28, count=24), 1.1, _CHALK)
    for side in (-1, 1):
        inner = side * (a - a * 0.28)
        ends = [((inner, -b * 0.55), (inner, b * 0.55))]
        ends += [((inner, y), (side * a, y)) for y in (-b * 0.55, b * 0.55)]
        parts += [Part(line(*pair, 1.0), _CHALK) for pair in ends]
    return parts


@shape(ground='grass', height=0)
def soccer_ball_field(rng: np.random.Generator) -> list[Part]:
    """Mown stripes, halfway line, centre circle and penalty areas."""
    length = rng.uniform(86, 118)
    return _pitch(rng, length, length * rng.uniform(0.62, 0.7))


@shape(ground='grass', height=0)
def ground_track_field(rng: np.random.Generator) -> list[Part]:
    """Running track around a pitch."""
    length = rng.uniform(112, 146)
    width = length * rng.uniform(0.5, 0.56)
    track = pick(rng, [(164, 84, 66), (140, 70, 62), (60, 100, 140)], 8)
    lane = length * 0.07
    parts = [Part(rounded(length, width, width / 2), track)]
    for i in (0.33, 0.66):
        inset = 2 * lane * i
        oval = rounded(length - inset, width - inset, (width - inset) / 2)
        parts += ring(oval, 0.8, tone(track, 1.35))
    inner = rounded(length - 2 * lane, width - 2 * lane, (width - 2 * lane) / 2)
    parts.append(Part(inner, pick(rng, [(86, 128, 70), (104, 136, 82)], 6)))
    return parts + _pitch(rng, (length - width) * 1.05, (width - 2 * lane) * 0.8)


@shape(ground='grass', pattern='grid', members=(1, 2), gap=8, height=0)
def baseball_diamond(rng: np.random.Generator) -> list[Part]:
    """Quarter disc of outfield, round skin of dirt, square infield, bases."""
    radius = rng.uniform(52, 74)
    grass = pick(rng, [(92, 138, 70), (74, 124, 62)], 7)
    dirt = pick(rng, [(186, 144, 104), (170, 122, 86), (198, 162, 124)], 8)
    home = -radius / 2

    def sector(reach: float) -> np.ndarray:
        turns = np.linspace(-np.pi / 4, np.pi / 4, 21)
        arc = np.stack([home + reach * np.cos(turns), reach * np.sin(turns)], 1)
        return np.concatenate([[(home, 0.0)], arc])

    side = radius * 0.4
    square = np.array([(0, 0), (side, -side), (2 * side, 0), (side, side)]) / np.sqrt(2)
    square[:, 0] += home + radius * 0.06
    parts = [
        Part(sector(radius), dirt),
        Part(sector(radius * 0.95), grass),
        Part(sector(radius * 0.66), dirt),
        Part(square, tone(grass, 1.06)),
        Part(ellipse(2.6, 2.6, home + radius * 0.34, count=16), dirt),
    ]
    return parts + [Part(rectangle(2.2, 2.2, *corner), _CHALK) for corner in square]


@shape(ground='paved', pattern='scatter', members=(1, 4), gap=9, height=0)
def swimming_pool(rng: np.random.Generator) -> list[Part]:
    """Pale rim around bright water, with or without lanes."""
    length = rng.uniform(20, 36)
    width = length * rng.uniform(0.42, 0.62)
    water = pick(rng, [(88, 190, 214), (64, 164, 206), (112, 206, 212)], 8)
    radius = width * rng.choice([0.1, 0.45])
    parts = [
        Part(rounded(length, width, radius), (222.0, 216.0, 204.0)),
        Part(rounded(length - 3.6, width - 3.6, max(radius - 1.8, 0.5)), water),
    ]
    if rng.random() < 0.5 and radius < width * 0.2:
        lanes = [rectangle(length - 6, 0.7, 0, y * width) for y in (-0.2, 0.0, 0.2)]
        return parts + [Part(lane, tone(water, 0.7)) for lane in lanes]
    return [*parts, Part(ellipse(length * 0.16, width * 0.2, length * 0.14), tone(water, 0.86))]
