"""Label files of DOTA and DIOR-R, read as MMRotate reads them, with all that is wrong in them."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from ..names import nearest

CORNERS = tuple(
    f'{axis}_{corner}'
    for corner in ('left_top', 'right_top', 'right_bottom', 'left_bottom')
    for axis in 'xy'
)


class Label(NamedTuple):
    """One labelled box.

    Attributes:
        name: Class.
        corners: x and y of four corners, in pixels.
        difficult: Whether it is marked as difficult.
        where: Line or number of the object, for messages.
    """

    name: str
    corners: tuple[float, ...]
    difficult: bool
    where: str


class Flaw(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: What it is, the same words for all of a kind.
        where: File, and line or number of the object.
        detail: What was found.
    """

    kind: str
    where: str
    detail: str = ''


def read_dota(path: Path) -> tuple[list[Label], list[Flaw]]:
    """Reads ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, a line a box."""
    labels, flaws = [], []
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Flaw('label file cannot be read', str(path), str(error))]
    for number, line in enumerate(lines, 1):
        where = f'{path}:{number}'
        fields = line.split()
        if len(fields) != 10:
            hint = ''
            if line.startswith(('imagesource', 'gsd')):
                hint = ' (a header of the raw files: cut the pictures with img_split.py)'
            flaws.append(Flaw('line without 10 fields', where, f'{line[:60]!r}{hint}'))
            continue
        corners = _numbers(fields[:8])
        if corners is None:
            flaws.append(Flaw('corner is no finite number', where, ' '.join(fields[:8])))
        elif not _is_whole(fields[9]):
            flaws.append(Flaw('difficulty is no whole number', where, repr(fields[9])))
        else:
            labels.append(Label(fields[8], corners, int(fields[9]) > 0, where))
    return labels, flaws


def read_dior(path: Path) -> tuple[list[Label], Optional[tuple[int, int]], list[Flaw]]:
    """Reads the oriented boxes of an XML file, and the size of the picture that it states."""
    labels, flaws = [], []
    try:
        tree = ET.parse(path).getroot()
    except (OSError, ET.ParseError, UnicodeDecodeError, ValueError) as error:
        return [], None, [Flaw('label file cannot be read', str(path), str(error))]
    stated = None
    size = tree.find('size')
    if size is not None:
        sides = [size.findtext(side) or '' for side in ('width', 'height')]
        if all(_is_whole(side) for side in sides):
            stated = (int(sides[0]), int(sides[1]))
        else:
            flaws.append(Flaw('size of the picture is no whole number', str(path), str(sides)))
    for number, item in enumerate(tree.iter('object'), 1):
        where = f'{path}, object {number}'
        name, box = item.findtext('name'), item.find('robndbox')
        if not name or box is None:
            lacks = 'robndbox' if name else 'name'
            flaws.append(Flaw('object without name or oriented box', where, f'no {lacks}'))
            continue
        texts = [box.findtext(key) for key in CORNERS]
        missing = [key for key, text in zip(CORNERS, texts) if text is None]
        if missing:
            flaws.append(Flaw('oriented box without all corners', where, f'no {missing[0]}'))
            continue
        corners = _numbers(texts)
        if corners is None:
            flaws.append(Flaw('corner is no finite number', where, ' '.join(texts)))
            continue
        difficult = (item.findtext('difficult') or '0').strip() not in ('0', '')
        labels.append(Label(name.lower(), corners, difficult, where))  # as MMRotate does
    return labels, stated, flaws


def flaws_of(label: Label, classes: Sequence[str], size: Optional[tuple[int, int]]) -> list[Flaw]:
    """What is wrong with a box that could be read.

    Args:
        label: The box.
        classes: Names that it may have.
        size: Width and height of the picture in pixels; None if they are not known.
    """
    found = []
    if label.name not in classes:
        near = nearest(label.name, classes, cutoff=0.5)
        found.append(Flaw('unknown class', label.where, f'{label.name!r}{near}'))
    xs, ys = label.corners[0::2], label.corners[1::2]
    if _extent(xs, ys) < 1e-3:
        found.append(Flaw('box without area', label.where, _shown(label.corners)))
    if size and (max(xs) <= 0 or max(ys) <= 0 or min(xs) >= size[0] or min(ys) >= size[1]):
        detail = f'{_shown(label.corners)} in {size[0]} x {size[1]}'
        found.append(Flaw('box outside of its picture', label.where, detail))
    return found


def _extent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Area of the largest of the four triangles, doubled: 0 if all corners are on one line."""
    points = list(zip(xs, ys))
    return max(
        abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
        for i in range(4)
        for a, b, c in [[p for j, p in enumerate(points) if j != i]]
    )


def _numbers(texts: Sequence[str]) -> Optional[tuple[float, ...]]:
    try:
        values = tuple(float(text) for text in texts)
    except ValueError:
        return None
    return values if all(math.isfinite(v) for v in values) else None


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _shown(corners: Sequence[float]) -> str:
    return ' '.join(f'{v:g}' for v in corners)
