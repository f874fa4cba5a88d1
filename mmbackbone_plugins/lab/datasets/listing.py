"""Which pictures a split has: found as MMRotate finds them, and held against the files there."""

import glob
import os
from collections import Counter
from pathlib import Path

from mmengine.fileio import list_from_file

from .labels import BYTE_ORDER_MARK, Flaw, byte_order_mark
from .layouts import Split


def names_of(split: Split) -> tuple[list[str], list[Flaw]]:
    """Names of a split's pictures in the order of training, and what is wrong with its files.

    What is listed twice is there twice.
    """
    folders = [('folder of pictures', split.images), ('folder of labels', split.labels)]
    folders += [('list of pictures', split.listing)]
    try:
        flaws = [
            Flaw(f'{what} is missing', str(path), stops=True)
            for what, path in folders
            if path and not path.exists()
        ]
        names = [] if flaws else _names(split, flaws)
    except OSError as error:
        return [], [Flaw('folder cannot be read', str(error.filename), str(error), stops=True)]
    return names, flaws


def _names(split: Split, flaws: list[Flaw]) -> list[str]:
    # Training opens no hidden file: those of a file manager, or of an archive made on macOS.
    files = {p.name for p in os.scandir(split.images) if p.is_file() and p.name[0] != '.'}
    pictures = {name[: -len(split.suffix)] for name in files if name.endswith(split.suffix)}
    for name in sorted(files - {f'{name}{split.suffix}' for name in pictures}):
        detail = f'pictures end with {split.suffix}'
        flaws.append(Flaw('file that nothing reads', str(split.images / name), detail))
    before = len(flaws)
    if split.listing is not None:
        names, wanted = _listed(split, flaws)
        surplus = 'picture in no list'
    else:
        folder, suffix = split.labels or split.images, '.txt' if split.labels else split.suffix
        names = _searched(folder, suffix, flaws)
        wanted, surplus = set(names), 'picture without a label file'
    if not names and any(flaw.stops for flaw in flaws[before:]):
        return []  # the reason is said
    for name in sorted(pictures - wanted):
        flaws.append(Flaw(surplus, str(split.images / f'{name}{split.suffix}')))
    if not names:
        where = str(split.listing or split.labels or split.images)
        flaws.append(Flaw('split is empty', where, stops=True))
    return names


def _searched(folder: Path, suffix: str, flaws: list[Flaw]) -> list[str]:
    """Names of the files in a folder, by the pattern that MMRotate makes of its path."""
    found = glob.glob(os.path.join(folder, f'*{suffix}'))
    there = glob.glob(os.path.join(glob.escape(str(folder)), f'*{suffix}'))
    if set(found) != set(there):
        detail = (
            f'MMRotate takes [ ] * ? in a path for a pattern, and finds {len(found)} files here '
            f'where {len(there)} are: rename the folder'
        )
        flaws.append(Flaw('path is a pattern', str(folder), detail, stops=not found))
        return []
    return sorted(os.path.basename(path)[: -len(suffix)] for path in found)


def _listed(split: Split, flaws: list[Flaw]) -> tuple[list[str], set[str]]:
    """Names in a list, and those in any list beside it."""
    try:
        lines = list_from_file(str(split.listing))  # as MMRotate
    except (OSError, UnicodeError) as error:
        kind = 'list of pictures cannot be read'
        flaws.append(Flaw(kind, str(split.listing), str(error), stops=True))
        return [], set()
    if lines and lines[0].startswith(BYTE_ORDER_MARK):
        flaws.append(byte_order_mark(split.listing))
        lines[0] = lines[0].lstrip(BYTE_ORDER_MARK)
    names = [line.strip() for line in lines]
    for number, (line, name) in enumerate(zip(lines, names), 1):
        if not name or line != name:
            kind, where = 'line of a list with spaces, or empty', f'{split.listing}:{number}'
            flaws.append(Flaw(kind, where, repr(line), stops=True))
    names = [name for name in names if name]
    for name, count in Counter(names).items():
        if count > 1:
            detail = f'{name}, {count} times'
            flaws.append(Flaw('listed more than once', str(split.listing), detail))
    # A list shares its folders with other lists: what is in none of them is too much.
    listed = set(names)
    for path in split.listing.parent.glob('*.txt'):
        if path.name[0] != '.' and path.is_file():
            listed.update(path.read_text(encoding='utf-8', errors='replace').split())
    return names, listed
