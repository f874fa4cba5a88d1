"""Label files of DOTA and DIOR-R, read as MMRotate reads them, with all that is wrong in them."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, Optional

from ...utils.names import nearest
from .layouts import Split

# The children of a box in an XML file, as x and y of its four corners.
CORNERS = {
    'robndbox': tuple(
        f'{axis}_{corner}'
        for corner in ('left_top', 'right_top', 'right_bottom', 'left_bottom')
        for axis in 'xy'
    ),
    'bndbox': ('xmin', 'ymin', 'xmax', 'ymin', 'xmax', 'ymax', 'xmin', 'ymax'),
}
BYTE_ORDER_MARK = '\ufeff'


class Label(NamedTuple):
    """One labelled box: class, x and y of four corners in pixels, and where it is, for messages."""

    name: str
    corners: tuple[float, ...]
    difficult: bool
    where: str


class Flaw(NamedTuple):
    """One thing that is wrong."""

    kind: str  # the same words for all of a kind
    where: str  # file, and line or number of the object
    detail: str = ''
    stops: bool = False  # whether training ends with an error there


class Labels(NamedTuple):
    """What a label file says: boxes, width and height of the picture if stated, all flaws in it."""

    boxes: list[Label]
    size: Optional[tuple[int, int]]
    flaws: list[Flaw]


def read_labels(split: Split, name: str) -> Labels:
    """Reads the label file of a picture of a split that has labels."""
    path, size = split.label_file(name), None
    if split.fmt == 'dota':
        boxes, flaws = read_dota(path)
    else:
        boxes, size, flaws = read_dior(path, split.box)
    for box in boxes:
        if box.name not in split.classes:
            near = nearest(box.name, split.classes, cutoff=0.5)
            flaws.append(Flaw('unknown class', box.where, f'{box.name!r}{near}', stops=True))
    return Labels(boxes, size, flaws)


def read_dota(path: Path) -> tuple[list[Label], list[Flaw]]:
    """Reads ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, a line a box."""
    labels, flaws = [], []
    try:
        with path.open() as file:  # in the encoding of the locale, as MMRotate
            lines = file.readlines()
    except (OSError, UnicodeError) as error:
        return [], [_unreadable(path, error)]
    if lines and lines[0].startswith(BYTE_ORDER_MARK):
        flaws.append(byte_order_mark(path))
        lines[0] = lines[0].lstrip(BYTE_ORDER_MARK)
    for number, line in enumerate(lines, 1):
        where = f'{path}:{number}'
        fields = line.split()
        if len(fields) < 10:
            detail = f'{line.rstrip()[:60]!r}'
            if line.startswith(('imagesource', 'gsd')):
                detail += ' (a header of the raw files: cut the pictures with img_split.py)'
            flaws.append(Flaw('line without 10 fields', where, detail, stops=True))
            continue
        corners = _corners(fields[:8], where, flaws)
        if corners is None:
            continue
        if _is_whole(fields[9]):
            labels.append(Label(fields[8], corners, int(fields[9]) > 0, where))
        else:
            flaws.append(Flaw('difficulty is no whole number', where, repr(fields[9]), stops=True))
    return labels, flaws


def read_dior(
    path: Path, form: str = 'robndbox'
) -> tuple[list[Label], Optional[tuple[int, int]], list[Flaw]]:
    """Reads the boxes (``'robndbox'``, or ``'bndbox'``) of an XML file, and the stated size."""
    labels, flaws = [], []
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError, LookupError, ValueError) as error:
        return [], None, [_unreadable(path, error)]
    stated, size = None, root.find('size')
    if size is not None:
        sides = [size.findtext(side) or '' for side in ('width', 'height')]
        if all(map(_is_whole, sides)):
            stated = (int(sides[0]), int(sides[1]))
        else:
            kind = 'size of the picture is no whole number'
            flaws.append(Flaw(kind, str(path), str(sides), stops=True))
    oriented = 'oriented ' if form == 'robndbox' else ''
    for number, item in enumerate(root.findall('object'), 1):
        where = f'{path}, object {number}'
        name, box = item.findtext('name'), item.find(form)
        if name and box is None and not oriented:
            flaws.append(Flaw('object without box', where, f'no {form}: training leaves it out'))
            continue
        if not name or box is None:
            kind = f'object without name or {oriented}box'
            flaws.append(Flaw(kind, where, f'no {form if name else "name"}', stops=True))
            continue
        texts = [box.findtext(key) for key in CORNERS[form]]
        missing = [key for key, text in zip(CORNERS[form], texts) if text is None]
        if missing:
            kind = f'{oriented}box without all corners'
            flaws.append(Flaw(kind, where, f'no {missing[0]}', stops=True))
            continue
        corners = _corners(texts, where, flaws)
        if corners is not None:
            difficult = (item.findtext('difficult') or '0').strip() not in ('0', '')
            labels.append(Label(name.lower(), corners, difficult, where))  # as MMRotate does
    return labels, stated, flaws


def _unreadable(path: Path, error: Exception) -> Flaw:
    if isinstance(error, FileNotFoundError):
        return Flaw('label file is missing', str(path), stops=True)
    return Flaw('label file cannot be read', str(path), str(error), stops=True)


def byte_order_mark(path: Path) -> Flaw:
    """The flaw of a text file that begins with the invisible mark some editors put there."""
    detail = 'begins with U+FEFF, which training takes for text: save it as UTF-8 without the mark'
    return Flaw('byte order mark', f'{path}:1', detail, stops=True)


def flaws_of(label: Label, size: Optional[tuple[int, int]]) -> list[Flaw]:
    """What is wrong with where a box is, in a picture of that width and height if known."""
    found = []
    if not all(map(math.isfinite, label.corners)):
        return found  # said when it was read
    xs, ys = label.corners[0::2], label.corners[1::2]
    # Twice the areas of triangles; all are 0 where all corners are on one line.
    doubled = (
        (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        for (ax, ay), (bx, by), (cx, cy) in combinations(zip(xs, ys), 3)
    )
    if max(map(abs, doubled)) < 1e-3:
        found.append(Flaw('box without area', label.where, _shown(label.corners)))
    if size and (max(xs) <= 0 or max(ys) <= 0 or min(xs) >= size[0] or min(ys) >= size[1]):
        detail = f'{_shown(label.corners)} in {size[0]} x {size[1]}'
        found.append(Flaw('box outside of its picture', label.where, detail))
    return found


def _corners(texts: Sequence[str], where: str, flaws: list[Flaw]) -> Optional[tuple[float, ...]]:
    """Numbers, or None and a flaw. Training goes on with those that are not finite."""
    try:
        values = tuple(float(text) for text in texts)
    except ValueError:
        values = None
    if values is None or not all(map(math.isfinite, values)):
        detail = ' '.join(texts)
        flaws.append(Flaw('corner is no finite number', where, detail, stops=values is None))
    return values


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _shown(corners: Sequence[float]) -> str:
    return ' '.join(f'{v:g}' for v in corners)
