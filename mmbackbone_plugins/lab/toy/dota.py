"""Writes scenes in the layout of a split DOTA data set.

``<split>/images/*.png`` and ``<split>/annfiles/*.txt``, one object a line: the four corners
clockwise from the left of the head, the class, and 1 if it is difficult. This is what
MMRotate's ``DOTADataset`` reads from ``data/split_ss_dota``.
"""

from pathlib import Path

import cv2

from .scenes import Scene
from .seeding import SPLITS

FOLDERS = tuple(f'{split}/{kind}' for split in SPLITS for kind in ('images', 'annfiles'))
CAPACITY = {split: 100000 for split in SPLITS}


def name_of(split: str, index: int, size: int) -> str:
    """Returns the stem of a picture's files, unique over all splits.

    It follows the tiles of a real split: source picture, tile size, left and top of the tile.
    """
    return f'P{SPLITS.index(split)}{index:05d}__{size}__0___0'


def write(root: Path, split: str, index: int, scene: Scene) -> None:
    """Writes one picture and its labels; the folders exist."""
    name = name_of(split, index, scene.image.shape[0])
    _, data = cv2.imencode('.png', scene.image)
    (root / split / 'images' / f'{name}.png').write_bytes(data.tobytes())
    with (root / split / 'annfiles' / f'{name}.txt').open('w', encoding='utf-8') as file:
        for item in scene.objects:
            corners = ' '.join(f'{value:.1f}' for value in item.box.ravel())
            file.write(f'{corners} {item.label} {int(item.difficult)}\n')
