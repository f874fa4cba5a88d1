"""Test sets by short names: corruptions, folders of the same layout, the other data set."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

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
    """The labelled pictures of a config's own data.

    Args:
        cfg: The config.
        split: ``'val'`` or ``'test'``; default: test if it has labels and is not the validation set
            by another name, else val.
        num_workers: Loading processes; default is the config's.

    Returns:
        One cell, ``own_test`` or ``own_val``.

    Raises:
        ValueError: See :func:`labelled_split`.
    """
    if split is None:
        try:
            test, val = (labelled_split(cfg, name)[0] for name in ('test', 'val'))
            split = 'val' if identity(test) == identity(val) else 'test'
        except ValueError:
            split = 'test' if _has_labels(cfg, 'test') else 'val'
    loader, evaluator = labelled_split(cfg, split)
    launch.check_data(cfg, (f'{split}_dataloader',))
    if num_workers is not None:
        loader['num_workers'] = num_workers
    return [Cell(f'{OWN}_{split}', loader, oriented_evaluator(evaluator))]


def out_of_domain(
    own: Cell, on: Sequence[str], severities: Sequence[int] = (1, 2, 3, 4, 5), seed: int = 0
) -> Groups:
    """Other test sets for a detector.

    Args:
        own: The detector's own pictures.
        on: Each a corruption or a group of them (``'fog'``, ``'noise'``, ``'benchmark'``);
            ``NAME=DATA_ROOT``, a folder in the layout of ``own``; or ``dota:DATA_ROOT`` or
            ``dior:DATA_ROOT``, the other data set over the common classes.
        severities: Of the corruptions.
        seed: Of the corruptions' noise.

    Returns:
        Cells by group: all corruptions are one, each other set is one.

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
            moved = copy.deepcopy(own.loader)
            for _, dataset in innermost_datasets(moved['dataset']):
                dataset['data_root'] = root
            cell = Cell(f'set_{name}', moved, own.evaluator)
        elif colon and to in LAYOUTS:
            name, cell = to, _transfer(own, to, other)
        else:
            corruptions.append(one)
            continue
        if not name.replace('-', '').replace('_', '').isalnum() or name in (*groups, CORRUPTIONS):
            raise ValueError(f'--on {one!r}: NAME must be letters, digits, - and _, and there once')
        launch.check_data(Config({name: cell.loader}), (name,))
        groups[name] = [cell]
    cells = []
    for name in metrics.select_corruptions(corruptions) if corruptions else ():
        for severity in severities:
            changed = copy.deepcopy(own.loader)
            metrics.insert_corruption(changed['dataset'], name, severity, seed)
            cells.append(Cell(cell_name(name, severity), changed, own.evaluator))
    return {**({CORRUPTIONS: cells} if cells else {}), **groups}


def _transfer(own: Cell, to: str, root: str) -> Cell:
    if not Path(root).is_dir():
        raise FileNotFoundError(f'--on {to}:{root}: folder {root!r} does not exist')
    split = 'test' if to == 'dior' else 'val'  # the labels of DOTA's test pictures are not public
    classes = classes_of(innermost_datasets(own.loader['dataset'])[0][1])
    metrics.common_classes('dota-dior', classes, metrics.DATASET_CLASSES[to])
    metric = oriented_evaluator(
        own.evaluator, class_map='dota-dior', predicted_classes=list(classes)
    )
    return Cell(f'{to}_{split}', other_data(own.loader, to, root, split), metric)


def _has_labels(cfg: Any, split: str) -> bool:
    try:
        labelled_split(cfg, split)
    except ValueError:
        return False
    return True
