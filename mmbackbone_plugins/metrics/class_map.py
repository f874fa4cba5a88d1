"""Which classes of DOTA-v1.0 and DIOR-R mean the same thing.

Not common, though close: DOTA labels the pitch (soccer-ball-field), DIOR-R the building around one
(stadium). DIOR-R's overpass is a road above a road, and has a class of its own beside bridge.
DOTA labels single planes and helicopters; DIOR-R's airport is the whole ground. The rest exists in
one of the two only: roundabout, swimming-pool, helicopter; chimney, dam, expressway-service-area,
expressway-toll-station, golffield, trainstation, windmill.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional, Union

from .classes import CLASSES as DATASET_CLASSES

CLASS_MAPS: dict[str, dict[str, tuple[str, ...]]] = {
    'dota-dior': {
        'plane': ('plane', 'airplane'),
        'baseball-diamond': ('baseball-diamond', 'baseballfield'),
        'bridge': ('bridge',),
        'ground-track-field': ('ground-track-field', 'groundtrackfield'),
        'vehicle': ('small-vehicle', 'large-vehicle', 'vehicle'),
        'ship': ('ship',),
        'tennis-court': ('tennis-court', 'tenniscourt'),
        'basketball-court': ('basketball-court', 'basketballcourt'),
        'storage-tank': ('storage-tank', 'storagetank'),
        'harbor': ('harbor',),
    }
}


class CommonClasses(NamedTuple):
    """Labels of two lists of classes in terms of their common ones; -1 for a label without one."""

    names: tuple[str, ...]  # the common classes
    predicted: tuple[int, ...]  # for each predicted label its place in ``names``
    labelled: tuple[int, ...]  # for each label of the test set its place in ``names``


def common_classes(
    class_map: Union[str, Mapping[str, Sequence[str]]],
    predicted: Union[str, Sequence[str]],
    labelled: Sequence[str],
) -> CommonClasses:
    """Finds what a detector and a test set have in common.

    Args:
        class_map: ``'dota-dior'``, or the names that mean the same thing by common name.
        predicted: Names of the detector's classes in their order, ``'dota'`` or ``'dior'``.
        labelled: Names of the test set's classes in their order.

    Raises:
        ValueError: If a map or list is unknown, a name means two things, or nothing is common.

    Examples:
        >>> from mmbackbone_plugins.metrics import common_classes
        >>> common_classes('dota-dior', ['plane', 'small-vehicle'], ['vehicle', 'dam'])
        CommonClasses(names=('vehicle',), predicted=(-1, 0), labelled=(0, -1))
    """
    groups, predicted = named_map(class_map), named_classes(predicted)
    meaning: dict[str, str] = {}
    for common, names in groups.items():
        for name in [names] if isinstance(names, str) else names:
            if meaning.setdefault(name, common) != common:
                raise ValueError(f'class_map gives {name!r} to {meaning[name]!r} and {common!r}')
    there = {meaning.get(name) for name in predicted} & {meaning.get(name) for name in labelled}
    names = tuple(common for common in groups if common in there)
    if not names:
        raise ValueError(
            f'class_map leaves nothing in common: the detector has {list(predicted)}, the test '
            f'set {list(labelled)}, the map {dict(groups)}'
        )
    place: dict[Optional[str], int] = {common: i for i, common in enumerate(names)}
    places = ([place.get(meaning.get(n), -1) for n in given] for given in (predicted, labelled))
    return CommonClasses(names, *map(tuple, places))


def named_map(class_map: Union[str, Mapping[str, Sequence[str]]]) -> Mapping[str, Sequence[str]]:
    """A class map, or the one of a name; a ValueError if it is unknown or empty."""
    found = CLASS_MAPS.get(class_map) if isinstance(class_map, str) else class_map
    if not found or not isinstance(found, Mapping):
        raise ValueError(
            f'class_map must be one of {list(CLASS_MAPS)} or a dict of names by common name, '
            f'got {class_map!r}'
        )
    return found


def named_classes(classes: Union[str, Sequence[str]]) -> Sequence[str]:
    """A list of classes, or that of a data set; a ValueError if that is unknown."""
    if isinstance(classes, str) and classes not in DATASET_CLASSES:
        raise ValueError(
            f'predicted_classes must be one of {list(DATASET_CLASSES)} or a list of names, '
            f'got {classes!r}'
        )
    return DATASET_CLASSES[classes] if isinstance(classes, str) else classes
