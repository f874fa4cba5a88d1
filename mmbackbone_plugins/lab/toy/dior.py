"""Writes scenes in the layout of DIOR-R.

``JPEGImages-trainval`` and ``JPEGImages-test`` hold the pictures, ``Annotations/Oriented Bounding
Boxes`` one XML file for each, ``ImageSets/Main/{train,val,test}.txt`` the names. This is what
MMRotate's ``DIORDataset`` reads from ``data/DIOR``. Tags and their order are those of the real
files; corners are whole pixels as there.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np

from .scenes import Scene

ANNOTATIONS = 'Annotations/Oriented Bounding Boxes'
IMAGE_SETS = 'ImageSets/Main'
FOLDERS = ('JPEGImages-trainval', 'JPEGImages-test', ANNOTATIONS, IMAGE_SETS)
IMAGES = dict(train=FOLDERS[0], val=FOLDERS[0], test=FOLDERS[1])

# The real data set numbers its pictures through. Keeping its ranges makes a picture's name
# independent of how many pictures the other splits have.
_FIRST = {'train': 1, 'val': 5863, 'test': 11726}
CAPACITY = {'train': 5862, 'val': 5863, 'test': 11738}

_CORNERS = ('left_top', 'right_top', 'right_bottom', 'left_bottom')
_JPEG_QUALITY = 95


def name_of(split: str, index: int, size: int) -> str:
    """Returns the five-digit stem of a picture's files, unique over all splits."""
    return f'{_FIRST[split] + index:05d}'


def write(root: Path, split: str, index: int, scene: Scene) -> None:
    """Writes one picture and its labels; the folders exist."""
    name = name_of(split, index, scene.image.shape[0])
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode('.jpg', scene.image, quality)
    (root / IMAGES[split] / f'{name}.jpg').write_bytes(data.tobytes())
    text = annotation_xml(f'{name}.jpg', IMAGES[split], scene)
    (root / ANNOTATIONS / f'{name}.xml').write_text(text, encoding='utf-8')


def write_lists(root: Path, counts: dict) -> None:
    """Writes the lists of names, which depend on the number of pictures."""
    for split, count in counts.items():
        names = ''.join(name_of(split, index, 0) + '\n' for index in range(count))
        (root / IMAGE_SETS / f'{split}.txt').write_text(names, encoding='utf-8')


def annotation_xml(file_name: str, folder: str, scene: Scene) -> str:
    """Returns the XML text of one picture, with the tags of the real data set in their order."""
    height, width, depth = scene.image.shape
    root = ET.Element('annotation')
    _add(root, folder=folder, filename=file_name, path=f'{folder}/{file_name}')
    _add(ET.SubElement(root, 'source'), database='Unknown')
    _add(ET.SubElement(root, 'size'), width=width, height=height, depth=depth)
    _add(root, segmented=0)
    for item in scene.objects:
        node = ET.SubElement(root, 'object')
        _add(node, type='robndbox', name=item.label, pose='Unspecified')
        _add(node, truncated=int(item.truncated), difficult=int(item.difficult))
        box = ET.SubElement(node, 'robndbox')
        for corner, (x, y) in zip(_CORNERS, np.round(item.box).astype(int)):
            _add(box, **{f'x_{corner}': x, f'y_{corner}': y})
        # MMRotate does not read it; the direction of the box in radians is our reading.
        _add(node, angle=f'{item.angle % np.pi:.6g}')
    ET.indent(root, space='    ')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(parent: ET.Element, **texts: object) -> None:
    for tag, value in texts.items():
        ET.SubElement(parent, tag).text = str(value)
