"""Draws a whole data set, checks what is asked for, and keeps a record of what was drawn."""

import functools
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

from ...utils.files import write_json
from ..processes import spread
from . import dior, dota
from .classes import select_classes
from .scenes import draw_scene
from .seeding import SPLITS
from .styles import STYLES

MANIFEST = 'toy.json'
# Stands beside unfinished data, so that an interrupted run is noticed.
UNFINISHED = 'toy.json.part'

MIN_SIZE, MAX_SIZE = 128, 4096
MAX_DENSITY = 64.0
_FORMATS = {'dota': dota, 'dior': dior}
# Raised whenever equal settings draw other pictures than before.
_VERSION = 1


def toy_settings(
    fmt: str = 'dota',
    counts: Union[Mapping[str, int], Sequence[int]] = (160, 40, 40),
    size: int = 256,
    seed: int = 0,
    styles: Sequence[str] = ('clear',),
    classes: Sequence[str] = (),
    density: float = 8.0,
) -> dict[str, Any]:
    """Checks what is asked for and completes it.

    Args:
        fmt: Layout: 'dota' (split DOTA-v1.0) or 'dior' (DIOR-R).
        counts: Pictures in train, val and test.
        size: Side of the square pictures in pixels. Objects keep their size: larger pictures show
            more of them.
        seed: Another seed draws other scenes.
        styles: Keys of :data:`~.styles.STYLES`; picture ``i`` of a split gets style ``i`` modulo
            their number.
        classes: Class names of the data set, or 'all'; by default a handful that exist in both data
            sets.
        density: Mean number of objects on 256 x 256 pixels.

    Returns:
        The settings as they are kept in the manifest (JSON types only).

    Raises:
        ValueError: If an argument is out of range; the message names it.

    Examples:
        >>> from mmbackbone_plugins.lab.toy import toy_settings
        >>> toy_settings('dior', counts=[8, 2, 2])['counts']
        {'train': 8, 'val': 2, 'test': 2}
    """
    names = list(select_classes(fmt, classes))
    if isinstance(counts, Mapping):
        unknown = sorted(set(counts) - set(SPLITS))
        if unknown:
            raise ValueError(f'counts must be for {list(SPLITS)}, got {unknown[0]!r}')
        counts = [counts.get(split, 0) for split in SPLITS]
    if len(counts) != len(SPLITS):
        raise ValueError(f'counts must be three numbers (train, val, test), got {list(counts)}')
    capacity = _FORMATS[fmt].CAPACITY
    for split, count in zip(SPLITS, counts):
        _check_int(f'counts[{split!r}]', count, 0, capacity[split])
    if sum(counts) == 0:
        raise ValueError('counts must ask for at least one picture, got 0 in every split')
    _check_int('size', size, MIN_SIZE, MAX_SIZE)
    _check_int('seed', seed, 0, 2**32 - 1)
    styles = [styles] if isinstance(styles, str) else list(styles)
    for style in styles or ['']:
        if style not in STYLES:
            raise ValueError(f'styles must be among {list(STYLES)}, got {style!r}')
    number = isinstance(density, (int, float)) and not isinstance(density, bool)
    if not number or not 0 < density <= MAX_DENSITY:
        raise ValueError(f'density must be above 0 and at most {MAX_DENSITY:g}, got {density!r}')
    return {
        'fmt': fmt,
        'counts': {split: int(count) for split, count in zip(SPLITS, counts)},
        'size': int(size),
        'seed': int(seed),
        'styles': styles,
        'classes': names,
        'density': float(density),
    }


def make_toy_dataset(
    root: Union[str, Path],
    *args: Any,
    workers: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], Any] = lambda done, total: None,
    **kwargs: Any,
) -> dict[str, Any]:
    """Draws a toy data set.

    Picture ``index`` of a split depends on ``seed``, ``size``, ``classes`` and ``density`` alone;
    its style changes its looks and leaves its objects where they are.

    Args:
        root: Folder to write into.
        *args: What to draw: ``fmt``, ``counts``, ``size``, ... as :func:`toy_settings` takes them.
        workers: Processes that draw; 0 draws in this one.
        overwrite: Replace toy data that is already there. Folders that hold anything else are
            refused all the same.
        progress: ``progress(done, total)``, called with the number of pictures before the first (0)
            and after each, for a progress bar.
        **kwargs: As ``args``, by name.

    Returns:
        The manifest: settings, and pictures, objects and styles by split.

    Raises:
        ValueError: If an argument is out of range.
        FileExistsError: If ``root`` holds data that must not be replaced.
    """
    settings = toy_settings(*args, **kwargs)
    _check_int('workers', workers, 0, 256)
    root, layout = Path(root), _FORMATS[settings['fmt']]
    _claim(root, overwrite)
    for folder in layout.FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    tasks = [(split, i) for split in SPLITS for i in range(settings['counts'][split])]
    draw = functools.partial(_draw_one, root=root, settings=settings)
    totals = {split: Counter() for split in SPLITS}
    progress(0, len(tasks))
    for done, ((split, _), tally) in enumerate(zip(tasks, spread(draw, tasks, workers)), 1):
        totals[split].update(tally)
        progress(done, len(tasks))
    if layout is dior:
        dior.write_lists(root, settings['counts'])
    manifest = {'version': _VERSION, 'settings': settings, 'splits': {}}
    for split, total in totals.items():
        manifest['splits'][split] = {
            'images': settings['counts'][split],
            'background': total['background', ''],
            'difficult': total['difficult', ''],
            'objects': {name: total['object', name] for name in settings['classes']},
            'styles': {name: total['style', name] for name in settings['styles']},
        }
    write_json(root / MANIFEST, manifest, indent=2)
    (root / UNFINISHED).unlink()
    return manifest


def read_manifest(root: Union[str, Path]) -> Optional[dict[str, Any]]:
    """Returns the manifest of a finished toy data set, or None if there is none."""
    path = Path(root) / MANIFEST
    if not path.is_file() or (Path(root) / UNFINISHED).exists():
        return None
    manifest = json.loads(path.read_text(encoding='utf-8'))
    return manifest if manifest.get('version') == _VERSION else None


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    whole = hasattr(value, '__index__') and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        raise ValueError(f'{name} must be a whole number from {low} to {high}, got {value!r}')


def _claim(root: Path, overwrite: bool) -> None:
    """Makes an empty folder with the mark of unfinished data, or refuses to."""
    if root.exists() and not root.is_dir():
        raise FileExistsError(f'{root} is a file, not a folder for toy data')
    finished, started = (root / MANIFEST).exists(), (root / UNFINISHED).exists()
    if finished or started:
        if not overwrite:
            state = 'an unfinished' if started else 'a'
            raise FileExistsError(
                f'{root} holds {state} toy data set; overwrite=True (--overwrite) replaces it'
            )
        (root / UNFINISHED).touch()
        (root / MANIFEST).unlink(missing_ok=True)
        # Remove only what a toy data set consists of, in either layout.
        for layout in _FORMATS.values():
            for top in {Path(folder).parts[0] for folder in layout.FOLDERS}:
                if (root / top).is_dir() and not (root / top).is_symlink():
                    shutil.rmtree(root / top)
    elif root.exists() and any(root.iterdir()):
        raise FileExistsError(f'{root} is not empty and holds no toy data; choose another folder')
    root.mkdir(parents=True, exist_ok=True)
    (root / UNFINISHED).touch()


def _draw_one(task: tuple[str, int], root: Path, settings: dict[str, Any]) -> Counter:
    split, index = task
    style = settings['styles'][index % len(settings['styles'])]
    classes = select_classes(settings['fmt'], settings['classes'])
    look = (settings['size'], classes, settings['density'], style)
    scene = draw_scene(settings['seed'], split, index, *look)
    _FORMATS[settings['fmt']].write(root, split, index, scene)
    tally = Counter({('style', style): 1})
    tally['background', ''] = int(not scene.objects)
    for item in scene.objects:
        tally['object', item.label] += 1
        tally['difficult', ''] += int(item.difficult)
    return tally
