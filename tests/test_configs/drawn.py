"""Draws tiny data sets in the formats of COCO (with masks), LVIS, Cityscapes and PASCAL VOC."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

SIZE = 96


def objects(seed: int, labels: Sequence[int]) -> list[dict[str, Any]]:
    """Octagons in the four quarters of a picture, one for each label."""
    rng = np.random.default_rng(seed)
    found = []
    for quarter, label in enumerate(labels):
        x, y = (quarter % 2) * SIZE // 2 + 4, (quarter // 2 % 2) * SIZE // 2 + 4
        w, h = rng.integers(24, SIZE // 2 - 6, 2).tolist()
        cut = [(0, 0.3), (0.3, 0), (0.7, 0), (1, 0.3), (1, 0.7), (0.7, 1), (0.3, 1), (0, 0.7)]
        polygon = [[x + a * w, y + b * h] for a, b in cut]
        found.append(dict(label=label, box=[x, y, w, h], polygon=polygon))
    return found


def picture(path: Path, drawn: Sequence[dict[str, Any]], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
    for item in drawn:
        color = [90 + 40 * (item['label'] % 4), 220, 200 - 30 * (item['label'] % 3)]
        cv2.fillPoly(image, [np.array(item['polygon']).astype(int)], color)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def coco(
    root: Path,
    ann_file: str,
    folder: str,
    classes: Sequence[str],
    names: Sequence[str] = ('000000000001.jpg', '000000000002.jpg', '000000000003.jpg'),
    labels: Optional[Sequence[Sequence[int]]] = None,
    first_id: int = 1,
) -> None:
    """Writes a file of annotations and its pictures.

    LVIS finds a picture by its ``coco_url``, COCO and Cityscapes by its ``file_name``.
    """
    images, annotations = [], []
    for i, name in enumerate(names):
        drawn = objects(i, labels[i] if labels else [i % len(classes), (i + 1) % len(classes)])
        picture(root / folder / name, drawn, seed=i)
        url = f'http://images.cocodataset.org/{folder}{name}'
        size = dict(width=SIZE, height=SIZE)
        images.append(dict(id=first_id + i, file_name=name, coco_url=url, **size))
        for item in drawn:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=first_id + i,
                    category_id=2 * item['label'] + 1,  # with gaps, as COCO's
                    bbox=item['box'],
                    area=0.8 * item['box'][2] * item['box'][3],
                    segmentation=[np.array(item['polygon']).ravel().tolist()],
                    iscrowd=0,
                )
            )
    categories = [dict(id=2 * i + 1, name=name) for i, name in enumerate(classes)]
    path = root / ann_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def voc(root: Path, split: str, classes: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
    """Writes a split in the layout of the VOC development kit; labels are of these classes."""
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = [f'{split}_{i:03d}' for i in range(len(labels))]
    (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(names) + '\n')
    for i, name in enumerate(names):
        drawn = objects(i, labels[i])
        picture(root / 'JPEGImages' / f'{name}.jpg', drawn, seed=i)
        tree = ET.Element('annotation')
        size = ET.SubElement(tree, 'size')
        for key, value in (('width', SIZE), ('height', SIZE), ('depth', 3)):
            ET.SubElement(size, key).text = str(value)
        for item in drawn:
            entry = ET.SubElement(tree, 'object')
            ET.SubElement(entry, 'name').text = classes[item['label']]
            ET.SubElement(entry, 'difficult').text = '0'
            box = ET.SubElement(entry, 'bndbox')
            x, y, w, h = item['box']
            for key, value in (('xmin', x + 1), ('ymin', y + 1), ('xmax', x + w), ('ymax', y + h)):
                ET.SubElement(box, key).text = str(value)
        ET.ElementTree(tree).write(root / 'Annotations' / f'{name}.xml')
