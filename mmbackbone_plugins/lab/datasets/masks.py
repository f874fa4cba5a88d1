"""Data sets of MMSegmentation, as LoveDA and iSAID: pictures with a label for every pixel."""

from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from ...utils.datasets import innermost_datasets
from ..processes import spread
from .labels import Flaw
from .pictures import build_loader, look_at
from .report import DataReport, SplitReport


def check_masks(
    cfg: Any,
    decode: bool = True,
    workers: int = 0,
    progress: Optional[Callable[[int, int], Any]] = None,
) -> DataReport:
    """Counts pictures, by class those that have it, and lists what is missing or malformed.

    Files of a config's loaders are found and read as MMSegmentation does; what two loaders read is
    looked at once. Other arguments are those of :func:`~.check.check_splits`.
    """
    from mmseg.datasets import transforms  # noqa: F401, registers the data sets too
    from mmseg.registry import DATASETS

    reports, flaws, seen, tasks = [], [], [], []
    for name in ('train', 'val', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        for where, config in innermost_datasets(loader['dataset'], name) if loader else []:
            config = dict(config, pipeline=[], lazy_init=True)
            if config in seen:
                continue
            seen.append(config)
            reports.append(report := SplitReport(where))
            folder = str(Path(config.get('data_root') or '', config['data_prefix']['img_path']))
            try:
                dataset = DATASETS.build(config)
                items = dataset.load_data_list()
            except (AssertionError, OSError) as error:  # of a folder or list that is not there
                flaws.append((where, Flaw('pictures cannot be listed', folder, str(error), True)))
                continue
            if not items:
                flaws.append((where, Flaw('split is empty', folder, stops=True)))
            report.classes.update(dict.fromkeys(dataset.metainfo['classes'], 0))
            tasks += [(report, item, dataset.ignore_index) for item in items]
    looks = spread(partial(_look, load=build_loader(), decode=decode), tasks, workers)
    for done, ((report, *_), (readable, labels, found)) in enumerate(zip(tasks, looks), 1):
        report.images = report.used = report.originals = report.images + readable
        report.empty += labels == []
        report.classes.update(labels or ())
        flaws += [(report.name, flaw) for flaw in found]
        if progress:
            progress(done, len(tasks))
    return DataReport(reports, flaws, 'labels')


def _look(task: tuple[SplitReport, dict, int], load: Callable, decode: bool) -> tuple:
    """Whether a picture can be read, its classes (None: they cannot be), and all flaws."""
    from mmseg.datasets.transforms import LoadAnnotations

    report, item, ignored = task
    size, _, flaws = look_at(Path(item['img_path']), load, decode)
    path, classes = item['seg_map_path'], list(report.classes)
    try:
        labels = LoadAnnotations().transform(dict(item))['gt_seg_map']
    except Exception as error:  # whatever a broken file makes of the decoder
        missing = isinstance(error, FileNotFoundError)
        kind = 'label file is missing' if missing else 'label file cannot be read'
        return bool(size), None, [*flaws, Flaw(kind, path, '' if missing else str(error), True)]
    if labels.ndim != 2:
        detail = f'{labels.shape[-1]} channels: convert them to numbers of classes'
        return bool(size), None, [*flaws, Flaw('labels are colours', path, detail, True)]
    if size and labels.shape[::-1] != size:
        detail = '{1} x {0}, the picture has {2} x {3}'.format(*labels.shape, *size)
        flaws.append(Flaw('labels of another size', path, detail))
    values = [value for value in np.unique(labels).tolist() if value != ignored]
    unknown = ', '.join(str(value) for value in values if value >= len(classes))
    if unknown:
        detail = f'{unknown}, of {len(classes)} classes'
        flaws.append(Flaw('label of no class', path, detail, stops=True))
    return bool(size), [classes[value] for value in values if value < len(classes)], flaws
