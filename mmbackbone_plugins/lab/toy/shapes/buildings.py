"""Things that are built: tanks, bridges, piers, roundabouts, towers and a stadium."""

import numpy as np

from ..geometry import ellipse, rectangle
from .base import Part, line, pick, ring, shape, tone


@shape(ground='gravel', pattern='grid', members=(1, 6), gap=7, height=7, upright=True)
def storage_tank(rng: np.random.Generator) -> list[Part]:
    """Bright disc with a rim; floating roofs lie deeper and show a crescent of shade."""
    radius = rng.uniform(11, 24)
    paint = pick(rng, [(232, 232, 228), (206, 202, 190), (172, 178, 180), (226, 222, 206)])
    parts = [Part(ellipse(radius, radius), tone(paint, 0.78))]
    parts.append(Part(ellipse(radius * 0.93, radius * 0.93), paint))
    if rng.random() < 0.5:
        parts.append(Part(ellipse(radius * 0.8, radius * 0.8), tone(paint, 0.55)))
        roof = pick(rng, [(150, 154, 156), (186, 184, 178), (122, 104, 92)])
        lit = ellipse(radius * 0.72, radius * 0.72, radius * 0.06, radius * 0.06)
        parts.append(Part(lit, roof))
    else:
        turns = rng.uniform(0, np.pi)
        for turn in turns + np.pi / 4 * np.arange(4):
            tip = 0.86 * radius * np.array([np.cos(turn), np.sin(turn)])
            parts.append(Part(line(-tip, tip, 0.8), tone(paint, 0.87)))
        parts.append(Part(ellipse(radius * 0.12, radius * 0.12, count=16), tone(paint, 0.6)))
    turn = rng.uniform(0, 2 * np.pi)
    heading = np.array([np.cos(turn), np.sin(turn)])
    parts.append(Part(line(heading * radius * 0.55, heading * radius * 0.95, 1.4), (92.0, 88, 82)))
    return parts


@shape(ground='river', height=5)
def bridge(rng: np.random.Generator) -> list[Part]:
    """Deck with railings, a centre line and expansion joints."""
    length = rng.uniform(70, 112)
    width = rng.uniform(15, 23)
    deck = pick(rng, [(148, 148, 146), (116, 116, 118), (176, 170, 158)])
    rail = width * 0.43
    parts = [Part(rectangle(length, width), tone(deck, 1.28))]
    parts.append(Part(rectangle(length, width * 0.78), deck))
    ends = [((-length / 2, y), (length / 2, y)) for y in (-rail, rail)]
    parts += [Part(line(*pair, 0.9), (70,) * 3) for pair in ends]
    middle, chalk = [x * length for x in np.arange(-0.46, 0.46, 0.1)], (228.0, 226.0, 208.0)
    parts += [Part(rectangle(length * 0.045, 0.9, x), chalk) for x in middle]
    joints = [rectangle(1.0, width * 0.78, x * length) for x in (-0.3, 0.0, 0.3)]
    return parts + [Part(joint, tone(deck, 0.72)) for joint in joints]


@shape(ground='water', height=2)
def harbor(rng: np.random.Generator) -> list[Part]:
    """Quay with fingers: a comb of piers."""
    length = rng.uniform(66, 104)
    width = length * rng.uniform(0.4, 0.52)
    wood = pick(rng, [(178, 168, 148), (152, 146, 138), (196, 190, 178)])
    quay = width * 0.26
    parts = [Part(rectangle(length, quay, 0, -width / 2 + quay / 2), wood)]
    fingers = int(rng.integers(4, 7))
    for i in range(fingers):
        stroke = length * 0.045
        x = -length / 2 + stroke / 2 + (length - stroke) * i / (fingers - 1)
        parts.append(Part(rectangle(stroke, width - quay, x, quay / 2), tone(wood, 1.06)))
        parts.append(Part(rectangle(stroke * 0.4, width - quay - 3, x, quay / 2), tone(wood, 0.84)))
    seam = line((-length / 2, -width / 2 + quay * 0.5), (length / 2, -width / 2 + quay * 0.5), 1.0)
    parts.append(Part(seam, tone(wood, 0.8)))
    return parts


@shape(ground='junction', height=0, upright=True)
def roundabout(rng: np.random.Generator) -> list[Part]:
    """Ring road around a planted island."""
    radius = rng.uniform(24, 38)
    road = pick(rng, [(104, 104, 106), (128, 126, 124)], 8)
    lawn = pick(rng, [(86, 122, 66), (108, 138, 80), (150, 132, 98)], 8)
    parts = [Part(ellipse(radius, radius), tone(road, 1.5))]
    parts.append(Part(ellipse(radius * 0.955, radius * 0.955), road))
    parts += ring(ellipse(radius * 0.75, radius * 0.75, count=32), 0.9, (222.0, 220.0, 206.0))
    parts.append(Part(ellipse(radius * 0.55, radius * 0.55), (204.0, 200.0, 190.0)))
    parts.append(Part(ellipse(radius * 0.5, radius * 0.5), lawn))
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(-0.24, 0.24, 2) * radius
        parts.append(Part(ellipse(radius * 0.12, radius * 0.12, x, y, 14), tone(lawn, 0.6)))
    return parts


@shape(ground='gravel', pattern='scatter', members=(1, 3), gap=14, height=26, upright=True)
def chimney(rng: np.random.Generator) -> list[Part]:
    """Red and white rings around a dark mouth; its long shadow tells it from a tank."""
    radius = rng.uniform(8, 13)
    red, white = pick(rng, [(186, 58, 48), (150, 72, 60)], 8), (230.0, 228.0, 222.0)
    rings = ((1.0, red), (0.82, white), (0.64, red), (0.46, (34.0, 32.0, 32.0)))
    return [Part(ellipse(radius * share, radius * share), color) for share, color in rings]


@shape(ground='none', pattern='scatter', members=(1, 2), gap=12, height=14)
def windmill(rng: np.random.Generator) -> list[Part]:
    """Wind turbine: nacelle and three tapered blades, one of them ahead."""
    reach = rng.uniform(26, 42)
    white = pick(rng, [(238, 240, 242), (216, 220, 222)], 6)
    parts = [Part(ellipse(3.4, 3.4, count=20), tone(white, 0.8))]
    for turn in 2 * np.pi / 3 * np.arange(3):
        ahead = np.array([np.cos(turn), np.sin(turn)])
        side = np.array([-ahead[1], ahead[0]])
        blade = [ahead * 2 + side * 1.9, ahead * reach + side * 0.6]
        blade += [ahead * reach - side * 0.6, ahead * 2 - side * 1.9]
        parts.append(Part(np.array(blade), white))
    parts.append(Part(rectangle(8, 3.6, -2.0), tone(white, 0.9)))
    return parts


@shape(ground='paved', height=9)
def stadium(rng: np.random.Generator) -> list[Part]:
    """Oval stands with seat blocks around a pitch."""
    a = rng.uniform(54, 72)
    b = a * rng.uniform(0.74, 0.84)
    stand = pick(rng, [(206, 206, 206), (176, 180, 188), (196, 186, 170)])
    seats = pick(rng, [(60, 92, 150), (170, 62, 54), (206, 172, 84), (120, 124, 130)])
    grass = pick(rng, [(82, 134, 66), (98, 142, 76)], 7)
    parts = [Part(ellipse(a, b, count=48), stand)]
    parts.append(Part(ellipse(a * 0.88, b * 0.88, count=48), seats))
    for turn in 2 * np.pi / 16 * np.arange(16):
        ray = np.array([np.cos(turn) * a, np.sin(turn) * b])
        parts.append(Part(line(ray * 0.6, ray * 0.87, 1.3), tone(stand, 0.9)))
    parts.append(Part(ellipse(a * 0.64, b * 0.62, count=40), tone(grass, 0.92)))
    parts.append(Part(rectangle(a * 0.94, b * 0.72), grass))
    chalk = [line((x * a, -b * 0.36), (x * a, b * 0.36), 1.0) for x in (-0.47, 0.0, 0.47)]
    chalk += [line((-0.47 * a, y * b), (0.47 * a, y * b), 1.0) for y in (-0.36, 0.36)]
    return parts + [Part(stroke, (230.0,) * 3) for stroke in chalk]
