"""Things that move: aircraft, ships, cars and lorries."""

import numpy as np

from ..geometry import ellipse, rectangle, rounded
from .base import Part, line, pick, shape, tone

_DARK_GLASS = (38.0, 44.0, 54.0)


@shape(ground='concrete', pattern='row', members=(1, 4), gap=7, height=5)
def plane(rng: np.random.Generator) -> list[Part]:
    """Fuselage, swept wings with engines, tailplane: seen from above, nose ahead."""
    length = rng.uniform(34, 66)
    span = length * rng.uniform(0.82, 1.02)
    body = length * rng.uniform(0.085, 0.115)
    paint = pick(rng, [(228, 230, 232), (205, 208, 212), (236, 233, 226), (150, 156, 162)])
    sweep = length * rng.uniform(0.1, 0.22)
    root, tip, front = length * 0.2, length * 0.075, length * 0.1
    parts = []
    for side in (-1, 1):
        wing = [(front, 0), (front - sweep, side * span / 2)]
        wing += [(front - sweep - tip, side * span / 2), (front - root, 0)]
        parts.append(Part(np.array(wing), tone(paint, 0.9)))
        tail = [(-length * 0.36, 0), (-length * 0.46, side * span * 0.19)]
        tail += [(-length * 0.5, side * span * 0.19), (-length * 0.46, 0)]
        parts.append(Part(np.array(tail), tone(paint, 0.88)))
        engine = (front - sweep * 0.25, side * span * 0.17)
        parts.append(Part(rounded(length * 0.12, body * 0.6, 2, *engine), tone(paint, 0.62)))
    nose, radius = length * 0.5, body / 2
    hull = [(nose, 0), (nose - body, -radius), (-length * 0.3, -radius), (-length * 0.5, 0)]
    hull += [(-length * 0.3, radius), (nose - body, radius)]
    parts.append(Part(np.array(hull), paint))
    parts.append(Part(rectangle(length * 0.8, body * 0.3, -length * 0.02), tone(paint, 1.1)))
    parts.append(Part(rectangle(body * 0.4, body * 0.6, nose - body * 0.9), _DARK_GLASS))
    accent = pick(rng, [(180, 40, 40), (40, 70, 150), (60, 60, 66), (215, 160, 40)])
    parts.append(Part(line((-length * 0.34, 0), (-length * 0.48, 0), body * 0.34), accent))
    return parts


@shape(ground='concrete', pattern='row', members=(1, 3), gap=6, height=4)
def helicopter(rng: np.random.Generator) -> list[Part]:
    """Cabin, tail boom, four rotor blades in a cross."""
    length = rng.uniform(24, 36)
    paint = pick(rng, [(84, 92, 76), (60, 66, 74), (170, 50, 46), (214, 214, 210)])
    hub = length * 0.2
    reach = length * 0.42
    parts = [
        Part(ellipse(length * 0.26, length * 0.12, length * 0.2), paint),
        Part(line((0, 0), (-length * 0.5, 0), length * 0.07), paint),
        Part(rectangle(length * 0.05, length * 0.2, -length * 0.46), tone(paint, 0.8)),
        Part(ellipse(length * 0.09, length * 0.09, length * 0.36), _DARK_GLASS),
    ]
    turns = np.pi / 4 + np.pi / 2 * np.arange(4)
    tips = [(hub + reach * np.cos(turn), reach * np.sin(turn)) for turn in turns]
    parts += [Part(line((hub, 0), tip, 1.5), (46.0, 46.0, 48.0)) for tip in tips]
    return [*parts, Part(ellipse(1.7, 1.7, hub, count=12), (120.0, 120.0, 120.0))]


@shape(ground='water', pattern='scatter', members=(1, 6), gap=7, height=2)
def ship(rng: np.random.Generator) -> list[Part]:
    """Pointed hull, deck, bridge house near the stern, hatches or a mast line."""
    length = rng.uniform(28, 78)
    width = length * rng.uniform(0.23, 0.33)
    hull = pick(rng, [(214, 214, 214), (120, 52, 44), (70, 78, 92), (172, 168, 158), (48, 84, 92)])
    a, b = length / 2, width / 2

    def outline(scale: float) -> np.ndarray:
        bow = [(a * scale, 0), (a * 0.78 * scale, -b * 0.6 * scale), (a * 0.5 * scale, -b * scale)]
        stern = [(-a * 0.9 * scale, -b * scale), (-a * scale, -b * 0.7 * scale)]
        half = np.array(bow + stern)
        return np.concatenate([half, (half * (1, -1))[::-1][:-1]])

    deck = pick(rng, [(196, 186, 164), (150, 150, 150), (128, 84, 70), (222, 222, 218)])
    parts = [Part(outline(1.0), hull), Part(outline(0.8), deck)]
    if length > 44:
        for x in np.arange(-0.25, 0.6, 0.22):
            hatch = pick(rng, [(110, 112, 116), (160, 70, 50), (60, 98, 134), (188, 168, 96)])
            parts.append(Part(rectangle(length * 0.085, width * 0.55, x * a), hatch))
    else:
        parts.append(Part(line((a * 0.6, 0), (-a * 0.2, 0), 1.2), tone(deck, 0.55)))
    house = rectangle(length * 0.14, width * 0.7, -a * 0.62)
    parts.append(Part(house, (238.0, 238.0, 236.0)))
    parts.append(Part(rectangle(length * 0.03, width * 0.6, -a * 0.5), _DARK_GLASS))
    return parts


@shape(ground='asphalt', pattern='row', members=(2, 8), gap=4, height=1.5)
def small_vehicle(rng: np.random.Generator) -> list[Part]:
    """Car: body, dark windscreen and rear window, lighter roof."""
    length = rng.uniform(15, 20)
    width = length * rng.uniform(0.44, 0.5)
    paints = [(224, 226, 228), (26, 28, 32), (150, 152, 156)]
    paint = pick(rng, paints + [(164, 34, 34), (38, 60, 118), (92, 98, 92)])
    return [
        Part(rounded(length, width, width * 0.3), paint),
        Part(rectangle(length * 0.15, width * 0.78, length * 0.17), _DARK_GLASS),
        Part(rectangle(length * 0.09, width * 0.72, -length * 0.3), _DARK_GLASS),
        Part(rectangle(length * 0.28, width * 0.7, -length * 0.06), tone(paint, 1.1)),
    ]


@shape(ground='asphalt', pattern='row', members=(1, 6), gap=5, height=3)
def large_vehicle(rng: np.random.Generator) -> list[Part]:
    """Lorry with a cab and a long box, or a bus with roof hatches."""
    length = rng.uniform(34, 52)
    width = rng.uniform(10.5, 13)
    if rng.random() < 0.4:
        paint = pick(rng, [(226, 172, 40), (222, 224, 226), (60, 110, 160)])
        parts = [Part(rounded(length, width, 2), paint)]
        parts.append(Part(rectangle(1.6, width * 0.8, length * 0.46), _DARK_GLASS))
        hatches = [rectangle(3.2, 3.2, x * length) for x in (-0.28, 0.0, 0.28)]
        return parts + [Part(hatch, tone(paint, 0.72)) for hatch in hatches]
    paint = pick(rng, [(226, 228, 230), (160, 60, 46), (58, 96, 70), (190, 192, 194)])
    cab = pick(rng, [(168, 36, 36), (40, 64, 120), (224, 224, 222), (70, 74, 80)])
    box = rectangle(length * 0.76, width, -length * 0.12)
    parts = [
        Part(rounded(length * 0.19, width * 0.92, 2, length * 0.405), cab),
        Part(rectangle(1.5, width * 0.74, length * 0.4), _DARK_GLASS),
        Part(rectangle(length * 0.08, width * 0.4, length * 0.28), (52.0, 52.0, 54.0)),
        Part(box, paint),
    ]
    ribs = [rectangle(0.8, width * 0.94, x * length) for x in np.linspace(-0.44, 0.2, 5)]
    return parts + [Part(rib, tone(paint, 0.86)) for rib in ribs]
