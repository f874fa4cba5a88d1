"""Where the splits of DOTA and DIOR-R lie, under a folder or as a config says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from ..names import type_name
from .classes import CLASSES

# Where a split of a data set lies under its root, as in configs/_base_/datasets/.
LAYOUTS: dict[str, dict[str, dict[str, Any]]] = {
    'dota': {
        split: dict(
            type='mmrotate.DOTADataset',
            ann_file=f'{split}/annfiles/',
            data_prefix=dict(img_path=f'{split}/images/'),
        )
        for split in ('train', 'val', 'test')
    },
    'dior': {
        split: dict(
            type='mmrotate.DIORDataset',
            ann_file=f'ImageSets/Main/{split}.txt',
            data_prefix=dict(
                img_path='JPEGImages-test' if split == 'test' else 'JPEGImages-trainval'
            ),
        )
        for split in ('train', 'val', 'test')
    },
}

# Pictures of the official releases; DOTA's before they are cut into patches.
OFFICIAL: dict[str, dict[str, int]] = {
    'dota': dict(train=1411, val=458, test=937),
    'dior': dict(train=5862, val=5863, test=11738),
}
_ANNOTATIONS = 'Annotations/Oriented Bounding Boxes/'
_FORMATS = {
    'DOTADataset': 'dota',
    'DOTAv15Dataset': 'dota',
    'DOTAv2Dataset': 'dota',
    'DIORDataset': 'dior',
}


class Split(NamedTuple):
    """The files of one split.

    Attributes:
        fmt: ``'dota'`` (a text file a picture) or ``'dior'`` (a list and an XML file a picture).
        name: Its name.
        images: Folder of the pictures.
        labels: Folder of the label files; None for a split without labels.
        listing: File with a picture's name a line; None where the label files are the list.
        suffix: Of the picture files, with its dot.
        classes: Names that labels may have.
        official: Whether these are all classes of the data set, so that official counts apply.
    """

    fmt: str
    name: str
    images: Path
    labels: Optional[Path]
    listing: Optional[Path]
    suffix: str
    classes: tuple[str, ...]
    official: bool = True


def splits_of_root(fmt: str, root: Union[str, Path]) -> list[Split]:
    """The splits under a folder in the layout of the configs.

    Args:
        fmt: ``'dota'`` (after ``img_split.py``) or ``'dior'``.
        root: The folder.

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
            if not split.labels.is_dir() or not any(split.labels.glob('*.txt')):
                split = split._replace(labels=None)
        found.append(split)
    return found


def splits_of_config(cfg: Any) -> list[Split]:
    """The splits that a config trains, validates and tests on, each of them once.

    Args:
        cfg: The config.

    Raises:
        ValueError: If a loader has another kind of dataset, or the config has no loader.
    """
    found: list[Split] = []
    for name in ('train', 'val', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        inner = list(_innermost(loader['dataset'])) if loader else []
        for i, dataset in enumerate(inner):
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


def _innermost(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = [one for one in (dataset.get('dataset'), *(dataset.get('datasets') or [])) if one]
    if not inner:
        yield dataset
    for one in inner:
        yield from _innermost(one)


def classes_of(dataset: dict[str, Any]) -> tuple[str, ...]:
    """Names of a dataset's classes in the order of its labels.

    Args:
        dataset: Config of a dataset of DOTA or DIOR-R.

    Raises:
        ValueError: If it is of another type and names no classes itself.
    """
    named = (dataset.get('metainfo') or {}).get('classes')
    kind = type_name(dataset)
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


def _split(name: str, dataset: dict[str, Any], classes: Any) -> Split:
    kind = type_name(dataset)
    fmt = _FORMATS[kind]
    root = Path(dataset.get('data_root') or '')
    images = root / (dataset.get('data_prefix') or {}).get('img_path', '')
    file = dataset.get('ann_file', '')
    official = kind in ('DOTADataset', 'DIORDataset')
    common = dict(fmt=fmt, name=name, images=images, classes=tuple(classes), official=official)
    if fmt == 'dota':
        suffix = '.' + dataset.get('img_suffix', 'png')
        return Split(labels=root / file if file else None, listing=None, suffix=suffix, **common)
    labels = root / dataset.get('ann_subdir', _ANNOTATIONS)
    return Split(labels=labels, listing=root / file, suffix='.jpg', **common)
