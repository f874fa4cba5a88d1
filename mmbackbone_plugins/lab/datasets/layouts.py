"""Where the splits of DOTA and DIOR-R lie, under a folder or as a config says."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from mmengine.fileio import list_from_file

from ...metrics.classes import CLASSES
from ...utils.datasets import innermost_datasets
from ...utils.names import type_name

# Where a split of a data set lies under its root, as in configs/_base_/datasets/.
LAYOUTS: dict[str, dict[str, dict[str, Any]]] = {'dota': {}, 'dior': {}}
for _name, _images in (('train', 'trainval'), ('val', 'trainval'), ('test', 'test')):
    LAYOUTS['dota'][_name] = dict(
        type='mmrotate.DOTADataset',
        ann_file=f'{_name}/annfiles/',
        data_prefix=dict(img_path=f'{_name}/images/'),
    )
    LAYOUTS['dior'][_name] = dict(
        type='mmrotate.DIORDataset',
        ann_file=f'ImageSets/Main/{_name}.txt',
        data_prefix=dict(img_path=f'JPEGImages-{_images}'),
    )

# Pictures of the official releases; DOTA's before they are cut into patches.
OFFICIAL: dict[str, dict[str, int]] = {
    'dota': dict(train=1411, val=458, trainval=1869, test=937),
    'dior': dict(train=5862, val=5863, trainval=11725, test=11738),
}
_ANNOTATIONS = 'Annotations/Oriented Bounding Boxes/'
_FORMATS = dict.fromkeys(('DOTADataset', 'DOTAv15Dataset', 'DOTAv2Dataset'), 'dota')
_FORMATS['DIORDataset'] = 'dior'
_BOXES = {'obb': 'robndbox', 'hbb': 'bndbox'}


class Split(NamedTuple):
    """The files of one split."""

    fmt: str  # 'dota' (a text file a picture) or 'dior' (a list and an XML file a picture)
    name: str
    images: Path  # folder
    labels: Optional[Path]  # folder; None for a split without labels
    listing: Optional[Path]  # a picture's name a line; None where the label files are the list
    suffix: str  # of the picture files, with its dot
    classes: tuple[str, ...]  # that labels may have
    official: Optional[int] = None  # pictures in the release; None with other classes
    box: str = 'robndbox'  # of an XML file, or 'bndbox'
    loader: Optional[dict[str, Any]] = None  # transform of the pictures; None for mmcv's usual one
    filter_empty: bool = False  # whether training leaves out pictures without a box
    min_size: float = 0  # training leaves out DIOR-R's pictures with a shorter side
    indices: Any = None  # of the pictures that are used, or how many; None for all

    def label_file(self, name: str) -> Path:
        """The label file of a picture, in a split with labels."""
        return self.labels / f'{name}{".txt" if self.fmt == "dota" else ".xml"}'


def splits_of_root(fmt: str, root: Union[str, Path]) -> list[Split]:
    """The splits under a folder in the layout of the configs.

    Raises:
        ValueError: If the format is unknown.
        FileNotFoundError: If there is no such folder.
    """
    if fmt not in LAYOUTS:
        raise ValueError(f'format must be one of {list(LAYOUTS)}, got {fmt!r}')
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f'folder {str(root)!r} does not exist')
    found = []
    for name, layout in LAYOUTS[fmt].items():
        split = _split(name, dict(layout, data_root=str(root)), CLASSES[fmt])
        if name == 'test' and fmt == 'dota':
            # The labels of DOTA's test pictures are not public.
            if not split.images.is_dir():
                continue
            if not split.labels.is_dir() or not any(split.labels.glob('[!.]*.txt')):
                split = split._replace(labels=None)
        found.append(split)
    return found


def splits_of_config(cfg: Any) -> list[Split]:
    """The splits that a config trains, validates and tests on, each of them once.

    Raises:
        ValueError: If a loader has another kind of dataset, or one that cannot be built; or if the
            config has no loader.
    """
    found: list[Split] = []
    for name in ('train', 'val', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        inner = innermost_datasets(loader['dataset']) if loader else []
        for i, (_, dataset) in enumerate(inner):
            kind = type_name(dataset)
            if kind not in _FORMATS:
                raise ValueError(
                    f'{name}_dataloader has a dataset of type {kind!r}; those that can be checked '
                    f'are {list(_FORMATS)}'
                )
            named = name if len(inner) == 1 else f'{name}.{i}'
            found.append(_split(named, dataset, classes_of(dataset)))
    if not found:
        raise ValueError('the config has no train_dataloader, val_dataloader or test_dataloader')
    return found


def split_of_dataset(dataset: Any) -> Optional[Split]:
    """The split that a data set reads, which need not be complete; None if its type is unknown."""
    if type(dataset).__name__ not in _FORMATS:
        return None
    # Other paths have data_root in front already.
    given = {k: v for k, v in vars(dataset).items() if k not in ('data_root', 'pipeline')}
    if 'ann_subdir' in given:
        given['ann_subdir'] = os.path.join(dataset.data_root, dataset.ann_subdir)
    given.update(type=type(dataset), metainfo=dataset.metainfo)
    return _split('', given, classes_of(given))


def classes_of(dataset: dict[str, Any]) -> tuple[str, ...]:
    """Names of a dataset's classes in the order of its labels.

    Raises:
        ValueError: If it is of another type and names no classes itself, or names them by a string
            that is no file of theirs.
    """
    named = (dataset.get('metainfo') or {}).get('classes')
    kind = type_name(dataset)
    if isinstance(named, str):
        return _classes_in(named)
    if named:
        return tuple(named)
    if kind not in _FORMATS:
        raise ValueError(
            f'a dataset of type {kind!r} does not name its classes: set metainfo.classes'
        )
    if kind in ('DOTADataset', 'DIORDataset'):
        return CLASSES[_FORMATS[kind]]
    import mmrotate.datasets

    return tuple(getattr(mmrotate.datasets, kind).METAINFO['classes'])


def _classes_in(file: str) -> tuple[str, ...]:
    """Names of classes in a file, one a line, as mmengine reads them."""
    try:
        names = list_from_file(file)
    except FileNotFoundError:
        raise ValueError(
            f'metainfo.classes is the string {file!r}, and no file of that name exists: training '
            f'would take its letters for classes; a tuple of one needs a comma, ({file!r},)'
        ) from None
    except (OSError, UnicodeError) as error:
        raise ValueError(f'metainfo.classes: file {file!r} cannot be read: {error}') from error
    if names and names[0].startswith('\ufeff'):
        raise ValueError(
            f'metainfo.classes: file {file!r} begins with a byte order mark (U+FEFF), which '
            'training takes for a part of the first class: save it as UTF-8 without the mark'
        )
    return tuple(names)


def _split(name: str, dataset: dict[str, Any], classes: Any) -> Split:
    fmt = _FORMATS[type_name(dataset)]
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix', dict(img_path=''))
    if 'img_path' not in prefix:
        raise ValueError(f"{name}: data_prefix needs 'img_path', got {dict(prefix)}")
    images, file = root / prefix['img_path'], dataset.get('ann_file', '')
    filters = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
    steps = [step for step in dataset.get('pipeline') or () if isinstance(step, dict)]
    loaders = [dict(step) for step in steps if re.match('Load.*Image', type_name(step))]
    split = Split(
        fmt,
        name,
        images,
        labels=None,
        listing=None,
        suffix='.jpg',
        classes=tuple(classes),
        loader=next(iter(loaders), None),
        filter_empty=filters.get('filter_empty_gt', False),
        indices=dataset.get('indices'),
    )
    if fmt == 'dota':
        suffix = '.' + dataset.get('img_suffix', 'png')
        split = split._replace(labels=root / file if file else None, suffix=suffix)
        release = (split.labels or images).parent.name
    else:
        kind = dataset.get('ann_type', 'obb')
        if kind not in _BOXES:
            raise ValueError(f'{name}: ann_type must be one of {list(_BOXES)}, got {kind!r}')
        split = split._replace(
            labels=root / dataset.get('ann_subdir', _ANNOTATIONS),
            listing=root / file,
            box=_BOXES[kind],
            min_size=filters.get('min_size', 0),
        )
        release = split.listing.stem
    if set(classes) == set(CLASSES[fmt]):
        split = split._replace(official=OFFICIAL[fmt].get(release))
    return split
