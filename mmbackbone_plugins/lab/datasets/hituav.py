"""HIT-UAV in DOTA's layout: small tiles of infrared drone pictures, split by flight."""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
import numpy as np

CLASSES = {0: 'person', 1: 'car', 2: 'bicycle'}  # a tile with one of the others is left out
WIDTH, HEIGHT = 320, 256  # of a tile; a frame of 640 x 512 has four
KEPT, WHOLE = 0.3, 0.7  # share of a box in the tile from which it is kept, and is not difficult
OTHER = 0.05  # share of a box of another class from which the tile is left out
SAME = 50  # bits of 255 in which two frames of a flight differ at least
TILES_OF_FRAME = 2
# Flights (by their date) and number of tiles, by light and split.
SPLITS: dict[tuple[str, str], tuple[tuple[str, ...], int]] = {
    ('night', 'train'): (('20201217', '20210116', '20210118', '20210120', '20210123'), 400),
    ('night', 'val'): (('20210114', '20210119'), 120),
    ('night', 'test'): (('20210115', '20210121'), 200),
    ('day', 'train'): (('20210115', '20210119', '20210120'), 240),
    ('day', 'val'): (('20210123',), 80),
    ('day', 'test'): (('20210116', '20210121'), 200),
}
_SCENARIO = dict(night='1', day='0')
_FRAME = re.compile(r'(\d_\d+_\d+_\d)_(\d{5})(?:_[a-d])?')
NEAR = 20  # frames; those of the splits above are more than a hundred apart


def neighbours(first: Iterable[str], second: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names of the first split that have a near frame of the same video in the second, and that.

    The authors' random split is full of them; names of other data sets have no number of a frame.
    """
    frames: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in second:
        if found := _FRAME.fullmatch(name):
            frames[found[1]].append((int(found[2]), name))
    for name in sorted(first):
        if found := _FRAME.fullmatch(name):
            near = [(abs(n - int(found[2])), other) for n, other in frames[found[1]]]
            if near and min(near)[0] < NEAR:
                yield name, min(near)[1]


@dataclass(frozen=True)
class Tile:
    """A part of a frame, and its labels."""

    frame: Path
    place: str  # 'a' to 'd': top left, top right, bottom left, bottom right
    lines: tuple[str, ...] = ()  # of its label file
    counts: Counter = field(default_factory=Counter)  # boxes that are not difficult, by class

    @property
    def name(self) -> str:
        return f'{self.frame.stem}_{self.place}'

    @property
    def corner(self) -> tuple[int, int]:
        row, column = divmod('abcd'.index(self.place), 2)
        return column * WIDTH, row * HEIGHT


def make_hituav(
    source: Path, out: Path, report: Optional[Callable[[str], None]] = None
) -> dict[str, list[str]]:
    """Cuts, chooses and writes the tiles of all splits.

    Frames that nearly repeat one of their flight are left out, flights have equal shares, a frame
    gives two tiles at most, and half of the tiles favour rare classes. The choice depends on
    nothing but the files.

    ``source`` is a checkout of the data set, ``out`` the folder for ``hituav_night`` and
    ``hituav_day``, ``report`` is called with a line for each split.

    Returns:
        Names of the tiles by split, such as ``'hituav_night/train'``.

    Raises:
        FileNotFoundError: If the source has no ``rotate_json``.
    """
    frames = _frames(source)
    made: dict[str, list[str]] = {}
    for (light, split), (dates, wanted) in SPLITS.items():
        flights = {d: list(_tiles(frames.get((d, _SCENARIO[light]), []))) for d in dates}
        chosen = _choose(flights, wanted, random.Random(f'{light}-{split}'))
        where = f'hituav_{light}/{split}'
        for tile in chosen:
            _write(tile, out / where)
        made[where] = sorted(tile.name for tile in chosen)
        if report:
            total = sum((tile.counts for tile in chosen), Counter())
            report(f'{where}: {len(chosen)} tiles, {dict(total)}')
    return made


def _frames(source: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Frames with their boxes, by flight (date and light)."""
    folder = source / 'rotate_json'
    if not (folder / 'annotations').is_dir():
        raise FileNotFoundError(
            f'{str(folder / "annotations")!r} does not exist; the source must be a checkout of '
            'github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset'
        )
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for part in ('train', 'val', 'test'):
        data = json.loads((folder / 'annotations' / f'{part}.json').read_text(encoding='utf-8'))
        boxes = defaultdict(list)
        for box in data['annotations']:
            boxes[box['image_id']].append(box)
        for image in data['images']:
            name = image['filename']
            number = int(Path(name).stem.rsplit('_', 1)[1])
            frame = dict(path=folder / part / name, number=number, boxes=boxes[image['id']])
            found[image['date'], image['scenario']].append(frame)
    return found


def _tiles(frames: Sequence[dict[str, Any]]) -> Iterator[Tile]:
    """Tiles of a flight that have a box and none of another class."""
    seen: list[np.ndarray] = []
    for frame in sorted(frames, key=lambda f: f['number']):
        bits = _look(cv2.imread(str(frame['path']), cv2.IMREAD_GRAYSCALE))
        if any((bits != other).sum() < SAME for other in seen):
            continue
        seen.append(bits)
        quads = [
            (_corners(b['bbox']), b['category_id'], bool(b['difficult'])) for b in frame['boxes']
        ]
        for place in 'abcd':
            tile = _label(Tile(frame['path'], place), quads)
            if tile is not None:
                yield tile


def _look(gray: np.ndarray) -> np.ndarray:
    """255 bits that near-duplicates share: signs of the lowest frequencies about their median."""
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:16, :16].flatten()[1:]
    return waves > np.median(waves)


def _corners(box: Sequence[float]) -> np.ndarray:
    x, y, width, height, angle = box
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (half @ turn + [x, y]).astype(np.float32)


def _label(tile: Tile, quads: Sequence[tuple[np.ndarray, int, bool]]) -> Optional[Tile]:
    corner = np.array(tile.corner, np.float32)
    size = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    lines, counts = [], Counter[str]()
    for quad, category, difficult in quads:
        inside, _ = cv2.intersectConvexConvex(quad, size + corner)
        share = inside / max(cv2.contourArea(quad), 1e-6)
        name = CLASSES.get(category)
        if name is None and share > OTHER:
            return None
        if name is not None and share >= KEPT:
            hard = int(share < WHOLE or difficult)
            numbers = ' '.join(f'{v:.1f}' for v in (quad - corner).flatten())
            lines.append(f'{numbers} {name} {hard}')
            counts[name] += 1 - hard
    if not sum(counts.values()):
        return None
    return replace(tile, lines=tuple(lines), counts=counts)


def _choose(flights: dict[str, list[Tile]], wanted: int, draw: random.Random) -> list[Tile]:
    """Equal shares of the flights; every second tile by the rarity of its classes."""
    total = sum((tile.counts for tiles in flights.values() for tile in tiles), Counter())
    chosen: list[Tile] = []
    for place, date in enumerate(sorted(flights, key=lambda d: len(flights[d]))):
        share = (wanted - len(chosen)) // (len(flights) - place)
        tiles = flights[date][:]
        draw.shuffle(tiles)
        tiles.sort(key=lambda t: -sum(1 / total[c] for c in t.counts if t.counts[c]))
        rare, common = tiles[: len(tiles) // 2], tiles[len(tiles) // 2 :]
        draw.shuffle(rare)
        draw.shuffle(common)
        order = [tile for pair in zip_longest(rare, common) for tile in pair if tile]
        taken: Counter[Path] = Counter()
        count = 0
        for tile in order:
            if count < share and taken[tile.frame] < TILES_OF_FRAME:
                taken[tile.frame] += 1
                chosen.append(tile)
                count += 1
    return chosen


def _write(tile: Tile, folder: Path) -> None:
    x, y = tile.corner
    frame = cv2.imread(str(tile.frame), cv2.IMREAD_GRAYSCALE)
    for name in ('images', 'annfiles'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    part = frame[y : y + HEIGHT, x : x + WIDTH]
    cv2.imwrite(str(folder / 'images' / f'{tile.name}.png'), part, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    labels = '\n'.join(tile.lines) + '\n'
    (folder / 'annfiles' / f'{tile.name}.txt').write_text(labels, encoding='utf-8')
