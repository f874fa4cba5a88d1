"""Looks through the files of a data set before a run finds out on a cluster what is wrong."""

import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from ..cost.report import table
from .labels import Flaw, flaws_of, read_dior, read_dota
from .layouts import OFFICIAL, Split


@dataclass
class SplitReport:
    """What is in one split.

    Attributes:
        name: Its name.
        images: Pictures that training or testing would read.
        originals: Pictures that patches were cut from; as ``images`` where none were cut.
        empty: Pictures without a box.
        difficult: Boxes marked as difficult.
        classes: Boxes by class.
        official: Pictures of the official split, where that is known.
        ids: Names of the pictures.
    """

    name: str
    images: int = 0
    originals: int = 0
    empty: int = 0
    difficult: int = 0
    classes: Counter = field(default_factory=Counter)
    official: Optional[int] = None
    ids: frozenset = frozenset()


@dataclass
class DataReport:
    """What is in a data set, and what is wrong.

    Attributes:
        splits: A report for each split.
        flaws: Everything that is wrong, with the split that it was found in.
    """

    splits: list[SplitReport]
    flaws: list[tuple[str, Flaw]]

    def text(self, shown: int = 10) -> str:
        """Counts as tables, and the first flaws of each kind.

        Args:
            shown: Number of flaws that are listed for each kind.
        """
        rows = [['split', 'pictures', 'originals', 'official', 'empty', 'boxes', 'difficult']]
        for split in self.splits:
            counts = [split.images, split.originals, split.official, split.empty]
            counts += [sum(split.classes.values()), split.difficult]
            rows.append([split.name, *('-' if c is None else f'{c:,}' for c in counts)])
        lines = [table(rows)]
        lines.append(
            'originals: before they were cut into patches; official: originals in the release'
        )
        names = list(dict.fromkeys(name for split in self.splits for name in split.classes))
        rows = [['class', *(split.name for split in self.splits)]]
        rows += [[n, *(f'{split.classes[n]:,}' for split in self.splits)] for n in names]
        lines += ['', table(rows), '']
        kinds = Counter(flaw.kind for _, flaw in self.flaws)
        if not kinds:
            return '\n'.join([*lines, 'nothing is wrong'])
        for kind, count in kinds.most_common():
            lines.append(f'{kind}: {count:,}')
            of_kind = [(split, flaw) for split, flaw in self.flaws if flaw.kind == kind]
            for split, flaw in of_kind[:shown]:
                detail = f': {flaw.detail}' if flaw.detail else ''
                lines.append(f'  {split}: {flaw.where}{detail}')
            if count > shown:
                lines.append(f'  and {count - shown:,} more')
        return '\n'.join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        splits = [
            dict(
                name=s.name,
                images=s.images,
                originals=s.originals,
                official=s.official,
                empty=s.empty,
                boxes=sum(s.classes.values()),
                difficult=s.difficult,
                classes=dict(s.classes),
            )
            for s in self.splits
        ]
        return dict(splits=splits, flaws=[dict(split=n, **f._asdict()) for n, f in self.flaws])


def check_splits(
    splits: Sequence[Split],
    decode: bool = True,
    workers: int = 0,
    progress: Optional[Callable[[int, int], Any]] = None,
) -> DataReport:
    """Counts pictures and boxes, and lists everything that is missing or malformed.

    Args:
        splits: The splits.
        decode: Whether pictures are decoded, which finds truncated ones; else only their headers
            are read.
        workers: Processes; 0 works in this one.
        progress: ``progress(done, total)`` after each picture.
    """
    flaws: list[tuple[str, Flaw]] = []
    reports, tasks = [], []
    shared: set[Flaw] = set()
    for split in splits:
        names, found = _names(split)
        # Splits that share a folder would each complain of the same file.
        flaws += [(split.name, flaw) for flaw in found if flaw not in shared]
        shared.update(found)
        official = OFFICIAL[split.fmt].get(split.name) if split.official else None
        report = SplitReport(split.name, official=official, ids=frozenset(names))
        report.originals = len({_original(name) for name in report.ids})
        report.classes.update({name: 0 for name in split.classes})
        reports.append(report)
        tasks += [(len(reports) - 1, name) for name in sorted(report.ids)]
    look = partial(_look, splits=splits, decode=decode)
    for done, (index, seen) in enumerate(_run(look, tasks, workers), 1):
        report = reports[index]
        flaws += [(report.name, flaw) for flaw in seen.flaws]
        report.images += seen.readable
        report.empty += seen.labelled and not seen.boxes
        report.difficult += seen.difficult
        report.classes.update(seen.boxes)
        if progress:
            progress(done, len(tasks))
    return DataReport(reports, flaws + list(_overlaps(splits, reports)))


class _Seen(NamedTuple):
    """What is in one picture and its label file."""

    readable: bool
    labelled: bool
    boxes: Counter
    difficult: int
    flaws: list[Flaw]


def _names(split: Split) -> tuple[list[str], list[Flaw]]:
    """Names of a split's pictures, and what is missing or too much among its files."""
    folders = [('folder of pictures', split.images), ('folder of labels', split.labels)]
    folders += [('list of pictures', split.listing)]
    flaws = [Flaw(f'{what} is missing', str(p)) for what, p in folders if p and not p.exists()]
    if flaws:
        return [], flaws
    files = {p.name for p in os.scandir(split.images) if p.is_file()}
    pictures = {name[: -len(split.suffix)] for name in files if name.endswith(split.suffix)}
    for name in sorted(files - {f'{name}{split.suffix}' for name in pictures}):
        detail = f'pictures end with {split.suffix}'
        flaws.append(Flaw('file that nothing reads', str(split.images / name), detail))
    if split.listing is not None:
        names, labelled, listed = _listed(split, flaws)
    else:
        listed = None
        if split.labels is None:
            labelled = names = sorted(pictures)
        else:
            labelled = names = sorted(p.stem for p in split.labels.glob('*.txt'))
    # A list shares its folders with other lists: what is in none of them is too much.
    wanted = set(names) if listed is None else listed
    for name in sorted(set(names) - pictures):
        path = split.images / f'{name}{split.suffix}'
        flaws.append(Flaw('picture is missing', str(path), 'its label is there or it is listed'))
    for name in sorted(pictures - wanted):
        what = 'picture without a label file' if listed is None else 'picture in no list'
        flaws.append(Flaw(what, str(split.images / f'{name}{split.suffix}')))
    for name in sorted(set(names) - set(labelled)):
        flaws.append(Flaw('label file is missing', str(split.labels / f'{name}.xml')))
    if not names:
        flaws.append(Flaw('split is empty', str(split.listing or split.labels or split.images)))
    return names, flaws


def _listed(split: Split, flaws: list[Flaw]) -> tuple[list[str], set[str], set[str]]:
    """Names in a list, those that have a label file, and those in any list beside it."""
    lines = split.listing.read_text(encoding='utf-8').splitlines()
    names = [line.strip() for line in lines]
    for number, (line, name) in enumerate(zip(lines, names), 1):
        if not name or line != name:
            where = f'{split.listing}:{number}'
            flaws.append(Flaw('line of a list with spaces, or empty', where, repr(line)))
    for name, count in Counter(names).items():
        if count > 1 and name:
            flaws.append(
                Flaw('listed more than once', str(split.listing), f'{name}, {count} times')
            )
    names = [name for name in names if name]
    labelled = {p.stem for p in split.labels.glob('*.xml')}
    listed: set[str] = set()
    for file in split.listing.parent.glob('*.txt'):
        listed.update(file.read_text(encoding='utf-8').split())
    return names, labelled, listed


def _look(task: tuple[int, str], splits: Sequence[Split], decode: bool) -> tuple[int, _Seen]:
    """Reads one picture and its label file."""
    index, name = task
    split = splits[index]
    path, flaws = split.images / f'{name}{split.suffix}', []
    size = None
    if path.exists():
        try:
            size = _size(path, decode)
        except Exception as error:  # whatever a broken file makes of the decoder
            flaws.append(Flaw('picture cannot be read', str(path), f'{error}'))
    if split.labels is None:
        return index, _Seen(size is not None, False, Counter(), 0, flaws)
    stated = None
    file = split.labels / f'{name}{".txt" if split.fmt == "dota" else ".xml"}'
    if not file.exists():
        return index, _Seen(size is not None, False, Counter(), 0, flaws)
    if split.fmt == 'dota':
        labels, found = read_dota(file)
    else:
        labels, stated, found = read_dior(file)
    flaws += found
    if size and stated and size != stated:
        detail = f'{stated[0]} x {stated[1]}, the picture has {size[0]} x {size[1]}'
        flaws.append(Flaw('size in the label file is wrong', str(file), detail))
    for label in labels:
        flaws += flaws_of(label, split.classes, size)
    known = Counter(label.name for label in labels if label.name in split.classes)
    hard = sum(label.difficult for label in labels)
    return index, _Seen(size is not None, True, known, hard, flaws)


def _size(path: Path, decode: bool) -> tuple[int, int]:
    """Width and height of a picture.

    Pillow, because OpenCV fills the missing part of a truncated JPEG with grey and says nothing.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # whole scenes of DOTA are large, and no attack
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(path) as image:
            if decode:
                image.load()
            return image.size


def _original(name: str) -> str:
    """The picture that a patch was cut from; ``img_split.py`` appends ``__<size>__<x>___<y>``."""
    return name.split('__')[0]


def _overlaps(splits: Sequence[Split], reports: Sequence[SplitReport]) -> Iterable:
    """Pictures that are trained on and tested on."""
    for i, first in enumerate(splits):
        for j, second in enumerate(splits[i + 1 :], i + 1):
            roles = [split.name.split('.')[0] for split in (first, second)]
            same = first._replace(name='') == second._replace(name='')
            # Validating and testing on the same pictures is a choice; training on them is not.
            if roles[0] == roles[1] or (same and 'train' not in roles):
                continue
            pair = f'{first.name} and {second.name}'
            ids = [{_original(name) for name in r.ids} for r in (reports[i], reports[j])]
            for name in sorted(ids[0] & ids[1]):
                yield pair, Flaw('picture in two splits', name)


def _run(look: Callable, tasks: Sequence, workers: int) -> Iterable[tuple[int, _Seen]]:
    if workers <= 1:
        yield from map(look, tasks)
        return
    # A forked worker need not import anything again, which takes longer than most data sets.
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method))
    try:
        yield from pool.map(look, tasks, chunksize=16)
    finally:
        pool.shutdown(cancel_futures=True)
