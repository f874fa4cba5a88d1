"""Looks through the files of a data set before a run finds out on a cluster what is wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Callable, NamedTuple, Optional

from ..processes import spread
from .hituav import neighbours
from .labels import Flaw, flaws_of, read_labels
from .layouts import Split
from .listing import names_of
from .pictures import build_loader, look_at
from .report import DataReport, SplitReport


def check_splits(
    splits: Sequence[Split],
    decode: bool = True,
    workers: int = 0,
    progress: Optional[Callable[[int, int], Any]] = None,
) -> DataReport:
    """Counts pictures and boxes, and lists everything that is missing or malformed.

    Files are read as MMRotate's datasets and the loader of the pipeline read them, so that the
    report says what training does. Pictures are decoded, which finds truncated ones, or only their
    headers are read, where those tell all. ``progress(done, total)`` is called after each.

    Raises:
        ValueError: If the transform that loads the pictures cannot be built.
    """
    flaws: dict[Flaw, str] = {}  # splits that share a folder would each complain of the same file
    reports, tasks = [], []
    for split in splits:
        names, found = names_of(split)
        for flaw in found:
            flaws.setdefault(flaw, split.name)
        report = SplitReport(split.name, official=split.official, ids=frozenset(names))
        report.originals = len(_originals(report))
        report.classes.update({name: 0 for name in split.classes})
        reports.append(report)
        tasks += [(len(reports) - 1, *item) for item in sorted(Counter(names).items())]
    loaders = [build_loader(split.loader) for split in splits]
    look = partial(_look, splits=splits, loaders=loaders, decode=decode)
    seen_of = spread(look, tasks, workers)
    for done, ((index, _, times), seen) in enumerate(zip(tasks, seen_of), 1):
        report = reports[index]
        for flaw in seen.flaws:
            flaws.setdefault(flaw, report.name)
        for _ in range(times):  # what is listed twice is read twice
            report.images += seen.readable
            report.used += seen.used
            report.empty += seen.labelled and not seen.boxes
            report.difficult += seen.difficult
            report.classes.update(seen.boxes)
        if progress:
            progress(done, len(tasks))
    for split, report in zip(splits, reports):
        if report.ids and not report.used:
            flaws.setdefault(_all_left_out(split), split.name)
        if isinstance(split.indices, int):
            report.used = min(report.used, abs(split.indices))
        elif split.indices is not None:
            report.used = len(split.indices)
    found = [(name, flaw) for flaw, name in flaws.items()]
    return DataReport(reports, found + list(_overlaps(splits, reports)))


def first_stop(split: Split) -> Optional[Flaw]:
    """The first flaw of a split's list and labels at which training stops."""
    names, flaws = names_of(split)
    kept = split.labels is None
    for name in [] if split.labels is None else names:
        boxes, size, found = read_labels(split, name)
        flaws += found
        if any(flaw.stops for flaw in found):
            break
        kept = kept or _is_kept(split, boxes, size)
    if names and not kept:
        flaws.append(_all_left_out(split))
    return next((flaw for flaw in flaws if flaw.stops), None)


def _is_kept(split: Split, boxes: Sequence, size: Optional[tuple[int, int]]) -> bool:
    """Whether ``filter_cfg`` leaves a picture in."""
    return bool(boxes or not split.filter_empty) and (not size or min(size) >= split.min_size)


def _all_left_out(split: Split) -> Flaw:
    where = str(split.listing or split.labels or split.images)
    return Flaw('no picture is left', where, 'filter_cfg leaves out all of them', stops=True)


class _Seen(NamedTuple):
    """What is in one picture and its label file."""

    readable: bool
    labelled: bool
    used: bool
    boxes: Counter
    difficult: int
    flaws: list[Flaw]


def _look(
    task: tuple[int, str, int], splits: Sequence[Split], loaders: Sequence[Callable], decode: bool
) -> _Seen:
    """Reads one picture and its label file."""
    index, name, _ = task
    split, labels, stated, flaws = splits[index], [], None, []
    if split.labels is not None:
        labels, stated, flaws = read_labels(split, name)
    labelled = split.labels is not None and not any(flaw.stops for flaw in flaws)
    path = split.images / f'{name}{split.suffix}'
    size, turned, found = look_at(path, loaders[index], decode)
    used = _is_kept(split, labels, stated or size)
    if not used and (stated or split.fmt == 'dota'):  # else its size is looked up
        found = [flaw._replace(stops=False) for flaw in found]
    flaws = [*found, *flaws]
    if turned > 1 and not (stated == size and turned >= 5):
        detail = f'EXIF orientation {turned}: training has {size[0]} x {size[1]}'
        detail += f', the label file says {stated[0]} x {stated[1]}' if stated else ''
        flaws.append(Flaw('picture is turned when it is loaded', str(path), detail))
    elif size and stated and size != stated:
        detail = f'{stated[0]} x {stated[1]}, the picture has {size[0]} x {size[1]}'
        flaws.append(Flaw('size in the label file is wrong', str(split.label_file(name)), detail))
    for label in labels:
        flaws += flaws_of(label, size)
    known = Counter(label.name for label in labels if label.name in split.classes)
    hard = sum(label.difficult for label in labels)
    return _Seen(size is not None, labelled, used, known, hard, flaws)


def _originals(report: SplitReport) -> set[str]:
    """What patches were cut from; ``img_split.py`` appends ``__<size>__<x>___<y>``."""
    return {name.split('__')[0] for name in report.ids}


def _overlaps(splits: Sequence[Split], reports: Sequence[SplitReport]) -> Iterable:
    """Pictures that are trained on and tested on."""
    for i, first in enumerate(splits):
        for j, second in enumerate(splits[i + 1 :], i + 1):
            roles = [split.name.split('.')[0] for split in (first, second)]
            files = [(s.images, s.labels, s.listing, s.suffix) for s in (first, second)]
            same = files[0] == files[1]
            # Validating and testing on the same pictures is a choice; training on them is not.
            if roles[0] == roles[1] or (same and 'train' not in roles):
                continue
            pair = f'{first.name} and {second.name}'
            ids = _originals(reports[i]), _originals(reports[j])
            for name in sorted(ids[0] & ids[1]):
                yield pair, Flaw('picture in two splits', name)
            for name, other in neighbours(*ids):
                yield pair, Flaw('neighbouring frames of one video in two splits', name, other)
