"""Which shape stands for which class of DOTA-v1.0 and DIOR-R.

Classes that mean the same thing in both data sets share a shape, so that a detector trained on
one toy set can be tested on the other. DIOR-R's airport, dam, expressway-service-area,
expressway-toll-station, golffield, overpass and trainstation are not drawn: they fill most of a
real picture and have no simple outline.
"""

from collections.abc import Sequence

from ...metrics.classes import CLASSES as ALL

ShapeNames = tuple[str, ...]

# All of DOTA's have a shape of their own name.
DOTA_CLASSES: dict[str, ShapeNames] = {n: (n.replace('-', '_'),) for n in ALL['dota']}

DIOR_CLASSES: dict[str, ShapeNames] = {
    'airplane': ('plane',),
    'baseballfield': ('baseball_diamond',),
    'basketballcourt': ('basketball_court',),
    'bridge': ('bridge',),
    'chimney': ('chimney',),
    'groundtrackfield': ('ground_track_field',),
    'harbor': ('harbor',),
    'ship': ('ship',),
    'stadium': ('stadium',),
    'storagetank': ('storage_tank',),
    'tenniscourt': ('tennis_court',),
    'vehicle': ('small_vehicle', 'large_vehicle'),
    'windmill': ('windmill',),
}

CLASSES: dict[str, dict[str, ShapeNames]] = {'dota': DOTA_CLASSES, 'dior': DIOR_CLASSES}

# A handful that differ in size, elongation and ground, and exist in both data sets.
DEFAULT_CLASSES: dict[str, tuple[str, ...]] = {
    'dota': ('plane', 'ship', 'storage-tank', 'tennis-court', 'small-vehicle', 'large-vehicle'),
    'dior': ('airplane', 'ship', 'storagetank', 'tenniscourt', 'vehicle'),
}


def select_classes(fmt: str, classes: Sequence[str] = ()) -> dict[str, ShapeNames]:
    """Returns the classes to draw with their shapes; by default those of ``DEFAULT_CLASSES``.

    Raises:
        ValueError: If the format is unknown, or a class is unknown or named twice.
    """
    if fmt not in CLASSES:
        raise ValueError(f'fmt must be one of {sorted(CLASSES)}, got {fmt!r}')
    table = CLASSES[fmt]
    if isinstance(classes, str):
        classes = (classes,)
    names = tuple(classes) or DEFAULT_CLASSES[fmt]
    if names == ('all',):
        return dict(table)
    for name in names:
        if name not in table:
            raise ValueError(f'classes must be among {sorted(table)} for {fmt!r}, got {name!r}')
        if names.count(name) > 1:
            raise ValueError(f'classes must not repeat a class, got {name!r} twice')
    return {name: table[name] for name in names}
