"""Test sets by short names: corruptions, folders of the same layout, the other data set."""

import copy
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from ... import metrics
from ...utils.datasets import innermost_datasets
from .. import launch
from ..datasets import classes_of
from ..datasets.layouts import LAYOUTS
from .evaluate import identity, labelled_split, oriented_evaluator
from .report import cell_name
from .sweep import Cell
from .transfer import other_data

OWN, CORRUPTIONS = 'own', 'corruptions'
Groups = dict[str, list[Cell]]


def in_domain(
    cfg: Config, split: Optional[str] = None, num_workers: Optional[int] = None
) -> list[Cell]:
    """The labelled pictures of a config's own data, as one cell, ``own_test`` or ``own_val``.

    By default test if it has labels and is not the validation set by another name, else val.

    Raises:
        ValueError: See :func:`labelled_split`.
    """
    if split is None:
        try:
            test, val = (labelled_split(cfg, name)[0] for name in ('test', 'val'))
            split = 'val' if identity(test) == identity(val) else 'test'
        except ValueError:
            split = 'test' if has_labels(cfg, 'test') else 'val'
    loader, evaluator = labelled_split(cfg, split)
    launch.check_data(cfg, (f'{split}_dataloader',))
    if num_workers is not None:
        loader['num_workers'] = num_workers
    return [Cell(f'{OWN}_{split}', loader, oriented_evaluator(evaluator))]


def out_of_domain(
    own: Cell, on: Sequence[str], severities: Sequence[int] = (1, 2, 3, 4, 5), seed: int = 0
) -> Groups:
    """Other test sets for a detector, by group: all corruptions are one, each other set is one.

    Args:
        own: The detector's own pictures.
        on: Each a corruption or a group of them (``'fog'``, ``'noise'``, ``'benchmark'``);
            ``NAME=DATA_ROOT``, a folder in the layout of ``own``; or ``dota:DATA_ROOT`` or
            ``dior:DATA_ROOT``, the other data set over the common classes.
        severities: Of the corruptions.
        seed: Of the corruptions' noise.

    Raises:
        ValueError: If a name is unknown or there twice.
        FileNotFoundError: If a folder is missing.
    """
    groups: Groups = {}
    corruptions: list[str] = []
    for one in on:
        name, equals, root = one.partition('=')
        to, colon, other = one.partition(':')
        if equals:
            cell = elsewhere(own, name, root)
        elif colon and to in LAYOUTS:
            if not Path(other).is_dir():
                raise FileNotFoundError(f'--on {to}:{other}: folder {other!r} does not exist')
            name, cell = to, transferred(own, to, other)
        else:
            corruptions.append(one)
            continue
        if not name.replace('-', '').replace('_', '').isalnum() or name in (*groups, CORRUPTIONS):
            raise ValueError(f'--on {one!r}: NAME must be letters, digits, - and _, and there once')
        launch.check_data(Config({name: cell.loader}), (name,))
        groups[name] = [cell]
    names = metrics.select_corruptions(corruptions) if corruptions else ()
    cells = corrupted(own, names, severities, seed)
    return {**({CORRUPTIONS: cells} if cells else {}), **groups}


def elsewhere(own: Cell, name: str, root: str) -> Cell:
    """The same test set of another folder in the same layout."""
    moved = copy.deepcopy(own.loader)
    for _, dataset in innermost_datasets(moved['dataset']):
        dataset['data_root'] = root
    return Cell(f'set_{name}', moved, own.evaluator)


def corrupted(
    own: Cell, corruptions: Iterable[str], severities: Iterable[int], seed: int
) -> list[Cell]:
    """A test set under each corruption at each severity."""
    cells = []
    for name, severity in itertools.product(corruptions, severities):
        changed = copy.deepcopy(own.loader)
        metrics.insert_corruption(changed['dataset'], name, severity, seed)
        cells.append(Cell(cell_name(name, severity), changed, own.evaluator))
    return cells


def transferred(
    own: Cell,
    to: str,
    root: str,
    split: Optional[str] = None,
    scale: Optional[Sequence[int]] = None,
) -> Cell:
    """The other data set in place of a detector's own, scored over the common classes.

    See :func:`other_data`; the split is by default one whose labels are public.
    """
    split = split or ('test' if to == 'dior' else 'val')
    classes = classes_of(innermost_datasets(own.loader['dataset'])[0][1])
    moved = other_data(own.loader, to, root, split, scale)
    metrics.common_classes('dota-dior', classes, metrics.DATASET_CLASSES[to])
    options = dict(class_map='dota-dior', predicted_classes=list(classes))
    return Cell(f'{to}_{split}', moved, oriented_evaluator(own.evaluator, **options))


def has_labels(cfg: Config, split: str) -> bool:
    """Whether a split of a config can be scored."""
    try:
        labelled_split(cfg, split)
    except ValueError:
        return False
    return True
