"""Tiles of HIT-UAV: on drawn frames against shapely, on the real files against the kit's lists."""

import json
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from shapely import affinity
from shapely.geometry import box

from mmbackbone_plugins.lab.datasets.hituav import SPLITS, make_hituav, neighbours

REAL = os.environ.get('HITUAV', '')
KIT = Path(__file__).parents[4] / 'shared' / 'real' / 'sources.json'


def draw(root, seed=0):
    """Six frames a flight, the last a near-duplicate of the first; returns boxes by frame."""
    generator = np.random.default_rng(seed)
    frames = {}
    flights = {(d, s) for (s, _), (dates, _) in SPLITS.items() for d in dates}
    data = dict(images=[], annotations=[])
    (root / 'rotate_json' / 'annotations').mkdir(parents=True)
    for part in ('train', 'val', 'test'):
        (root / 'rotate_json' / part).mkdir()
    for date, light in sorted(flights):
        first = None
        for number in range(6):
            scenario = '1' if light == 'night' else '0'
            name = f'{scenario}_60_30_{date}_{number:05d}.jpg'
            small = generator.integers(0, 255, (16, 20)).astype(np.uint8)
            first = small if first is None else first
            picture = cv2.resize(first if number == 5 else small, (640, 512))
            cv2.imwrite(str(root / 'rotate_json' / 'train' / name), picture)
            boxes = []
            for _ in range(4):
                x, y, w, h = generator.uniform([0, 0, 10, 10], [640, 512, 60, 60])
                found = [x, y, w, h, generator.uniform(-1.5, 1.5)]
                kind = int(generator.choice(4, p=[0.5, 0.2, 0.2, 0.1]))
                boxes.append((found, kind))
                data['annotations'].append(
                    dict(image_id=name, bbox=found, category_id=kind, difficult=0)
                )
            frames[Path(name).stem] = boxes
            data['images'].append(dict(id=name, filename=name, date=date, scenario=scenario))
    for part in ('train', 'val', 'test'):
        found = data if part == 'train' else dict(images=[], annotations=[])
        (root / 'rotate_json' / 'annotations' / f'{part}.json').write_text(json.dumps(found))
    return frames


def shares(boxes, corner):
    """Class and share within a tile of each box, by shapely."""
    tile = box(corner[0], corner[1], corner[0] + 320, corner[1] + 256)
    for (x, y, w, h, angle), kind in boxes:
        shape = box(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        shape = affinity.rotate(shape, angle, origin=(x, y), use_radians=True)
        yield kind, shape.intersection(tile).area / shape.area


def test_tiles_of_drawn_frames(tmp_path):
    frames = draw(tmp_path / 'raw')
    made = make_hituav(tmp_path / 'raw', tmp_path / 'out')
    assert sorted(made) == sorted(f'hituav_{light}/{split}' for light, split in SPLITS)
    for where, names in made.items():
        light, split = where.removeprefix('hituav_').split('/')
        assert names and max(Counter(name[:-2] for name in names).values()) <= 2
        for name in names:
            frame, place = name.rsplit('_', 1)
            assert frame.split('_')[3] in SPLITS[light, split][0] and not frame.endswith('5')
            found = list(
                shares(frames[frame], (320 * ('abcd'.index(place) % 2), 256 * (place > 'b')))
            )
            assert all(share <= 0.05 + 1e-4 for kind, share in found if kind == 3)
            expected = [(kind, int(s < 0.7)) for kind, s in found if kind < 3 and s >= 0.3]
            lines = (tmp_path / 'out' / where / 'annfiles' / f'{name}.txt').read_text().split('\n')
            kinds = ['person', 'car', 'bicycle']
            assert [(kinds.index(w[8]), int(w[9])) for w in map(str.split, lines) if w] == expected
            picture = cv2.imread(str(tmp_path / 'out' / where / 'images' / f'{name}.png'))
            assert picture.shape == (256, 320, 3)


def test_a_source_without_the_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'rotate_json.*HIT-UAV-Infrared-Thermal-Dataset'):
        make_hituav(tmp_path, tmp_path / 'out')


@pytest.mark.skipif(not REAL or not KIT.is_file(), reason='HITUAV names no checkout of the data')
def test_the_real_files_give_the_published_lists(tmp_path):
    made = make_hituav(Path(REAL), tmp_path)
    listed: dict[str, list[str]] = {}
    for tile in json.loads(KIT.read_text()):
        listed.setdefault(f'hituav_{tile["domain"]}/{tile["split"]}', []).append(tile['tile'])
    assert made == {where: sorted(names) for where, names in listed.items()}


def test_frames_of_one_video_on_both_sides_are_seen():
    train = {'1_100_30_0_05069_b', '1_100_30_0_05300', '0_100_30_0_00007', 'P0001__512__0___0'}
    val = {'1_100_30_0_05075_a', '1_100_30_0_05088_a', '1_100_30_1_05300', 'P0001__512__0___512'}
    assert list(neighbours(train, val)) == [('1_100_30_0_05069_b', '1_100_30_0_05075_a')]
    assert not list(neighbours({'1_100_30_0_05069_b'}, {'1_100_30_0_05089_b'}))
