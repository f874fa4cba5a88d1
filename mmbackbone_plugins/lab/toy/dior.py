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

from .layout import ToyObject
from .scenes import Scene

ANNOTATIONS = 'Annotations/Oriented Bounding Boxes'
IMAGE_SETS = 'ImageSets/Main'
IMAGES = {
    'train': 'JPEGImages-trainval',
    'val': 'JPEGImages-trainval',
    'test': 'JPEGImages-test',
}
FOLDERS = ('JPEGImages-trainval', 'JPEGImages-test', ANNOTATIONS, IMAGE_SETS)

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
    """Writes one picture and its labels.

    Args:
        root: Root of the data set; its folders exist.
        split: 'train', 'val' or 'test'.
        index: Position in the split.
        scene: What was drawn.

    Raises:
        OSError: If a file cannot be written.
    """
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
    _add(root, 'folder', folder)
    _add(root, 'filename', file_name)
    _add(root, 'path', f'{folder}/{file_name}')
    _add(ET.SubElement(root, 'source'), 'database', 'Unknown')
    size = ET.SubElement(root, 'size')
    for tag, value in (('width', width), ('height', height), ('depth', depth)):
        _add(size, tag, value)
    _add(root, 'segmented', 0)
    for item in scene.objects:
        _add_object(root, item)
    ET.indent(root, space='    ')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(parent: ET.Element, tag: str, value: object) -> None:
    ET.SubElement(parent, tag).text = str(value)


def _add_object(root: ET.Element, item: ToyObject) -> None:
    node = ET.SubElement(root, 'object')
    _add(node, 'type', 'robndbox')
    _add(node, 'name', item.label)
    _add(node, 'pose', 'Unspecified')
    _add(node, 'truncated', int(item.truncated))
    _add(node, 'difficult', int(item.difficult))
    box = ET.SubElement(node, 'robndbox')
    for corner, point in zip(_CORNERS, np.round(item.box).astype(int)):
        _add(box, f'x_{corner}', point[0])
        _add(box, f'y_{corner}', point[1])
    # MMRotate does not read it; the direction of the box in radians is our reading.
    _add(node, 'angle', f'{item.angle % np.pi:.6g}')
