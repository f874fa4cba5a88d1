"""Common classes of DOTA and DIOR-R: the lists of MMRotate, and a small example by hand."""

import numpy as np
import pytest
from oriented_scenes import samples

from mmbackbone_plugins import OrientedMetric
from mmbackbone_plugins.lab.toy.classes import DIOR_CLASSES, DOTA_CLASSES
from mmbackbone_plugins.metrics import (
    CLASS_MAPS,
    DATASET_CLASSES,
    Detections,
    Truth,
    common_classes,
)

DOTA, DIOR = DATASET_CLASSES['dota'], DATASET_CLASSES['dior']
# Written down from the two data sets' lists by hand: who has no counterpart.
ONLY_DOTA = {'soccer-ball-field', 'roundabout', 'swimming-pool', 'helicopter'}
ONLY_DIOR = {'airport', 'chimney', 'expressway-service-area', 'expressway-toll-station', 'dam'}
ONLY_DIOR |= {'golffield', 'overpass', 'stadium', 'trainstation', 'windmill'}


def test_the_lists_are_mmrotates():
    datasets = pytest.importorskip('mmrotate.datasets')
    assert datasets.DOTADataset.METAINFO['classes'] == DOTA
    assert datasets.DIORDataset.METAINFO['classes'] == DIOR


def test_exactly_the_common_classes():
    groups = CLASS_MAPS['dota-dior']
    used = [name for names in groups.values() for name in names]
    assert set(used) == set(DOTA) - ONLY_DOTA | set(DIOR) - ONLY_DIOR
    assert len(used) == len(set(used)) and ONLY_DOTA < set(DOTA) and ONLY_DIOR < set(DIOR)
    for names in groups.values():
        assert set(names) & set(DOTA) and set(names) & set(DIOR)
    assert {n for g in groups.values() if sum(x in DOTA for x in g) > 1 for n in g} == {
        *('small-vehicle', 'large-vehicle', 'vehicle')
    }


def test_drawn_classes_agree():
    """Toy scenes draw one shape for what the map calls the same."""
    for names in CLASS_MAPS['dota-dior'].values():
        shapes = [
            {s for n in names for s in table.get(n, ())} for table in (DOTA_CLASSES, DIOR_CLASSES)
        ]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize('predicted, labelled', [('dota', DIOR), ('dior', DOTA)])
def test_labels_of_both(predicted, labelled):
    found = common_classes('dota-dior', predicted, labelled)
    assert found.names == tuple(CLASS_MAPS['dota-dior'])
    for names, places in (
        (DATASET_CLASSES[predicted], found.predicted),
        (labelled, found.labelled),
    ):
        assert len(names) == len(places)
        for name, place in zip(names, places):
            if name in ONLY_DOTA | ONLY_DIOR:
                assert place == -1
            else:
                assert name in CLASS_MAPS['dota-dior'][found.names[place]]


def test_a_part_of_the_classes():
    found = common_classes('dota-dior', ['large-vehicle', 'ship', 'plane'], ['vehicle', 'airplane'])
    assert found == (('plane', 'vehicle'), (1, -1, 0), (1, 0))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('dota-xview', 'dota', DIOR), "class_map must be one of.*'dota-xview'"),
        (('dota-dior', 'xview', DIOR), "predicted_classes must be one of.*'xview'"),
        (('dota-dior', ['helicopter'], DIOR), 'nothing in common'),
        ((dict(a=['x'], b=['x']), ['x'], ['x']), "'x' to 'a' and 'b'"),
        (({}, ['x'], ['x']), 'class_map must be'),
    ],
)
def test_bad_maps(arguments, message):
    with pytest.raises(ValueError, match=message):
        common_classes(*arguments)


# -- through the metric --------------------------------------------------------------------------


def box(x, y):
    return [x, y, 20, 10, 0.3]


def boxes(*items):
    """Places and labels of boxes as arrays."""
    places = np.array([box(*p) for p, _ in items], np.float32).reshape(-1, 5)
    return places, np.array([label for _, label in items], int)


NONE = boxes()


def score(truth, found, classes, **options):
    metric = OrientedMetric(iou_thrs=[0.5, 0.75], class_map='dota-dior', **options)
    metric.dataset_meta = dict(classes=classes)
    scores = np.linspace(0.9, 0.1, len(found[1])).astype(np.float32)
    metric.process({}, samples([Truth(*truth, *NONE)], [Detections(*found, scores)]))
    got = metric.evaluate(1)
    return {name.removeprefix('oriented/'): value for name, value in got.items()}


def test_dota_on_dior():
    """Small and large vehicles are vehicles; helicopter and dam are nobody's."""
    d, r = DOTA.index, DIOR.index
    truth = boxes(
        ((50, 50), r('vehicle')), ((150, 50), r('vehicle')), ((50, 150), r('airplane')),
        ((250, 50), r('dam')),
    )  # fmt: skip
    found = boxes(
        ((250, 50), d('helicopter')), ((50, 50), d('small-vehicle')), ((50, 150), d('plane')),
        ((150, 50), d('large-vehicle')), ((250, 150), d('plane')), ((50, 250), d('ship')),
    )  # fmt: skip
    got = score(truth, found, DIOR, predicted_classes='dota')
    assert got['vehicle/AP50'] == pytest.approx(1) and got['plane/AP75'] == pytest.approx(1)
    assert got['mAP'] == pytest.approx(1) and got['boxes'] == 3 and got['vehicle/boxes'] == 2
    assert np.isnan(got['ship/AP50'])
    assert {k.split('/')[0] for k in got if '/' in k} == set(CLASS_MAPS['dota-dior'])


def test_a_wrong_class_is_wrong():
    truth = boxes(((50, 50), DIOR.index('ship')))
    found = boxes(((50, 50), DOTA.index('harbor')))
    assert score(truth, found, DIOR, predicted_classes='dota')['mAP'] == 0


def test_dior_on_dota_and_dota_on_itself():
    d, r = DOTA.index, DIOR.index
    truth = boxes(
        ((50, 50), d('small-vehicle')), ((150, 50), d('large-vehicle')),
        ((50, 150), d('roundabout')), ((250, 50), d('storage-tank')),
    )  # fmt: skip
    found = boxes(((50, 50), r('vehicle')), ((150, 50), r('vehicle')), ((250, 50), r('windmill')))
    got = score(truth, found, DOTA, predicted_classes='dior')
    assert got['vehicle/AP50'] == pytest.approx(1) and got['storage-tank/AP50'] == 0
    assert got['mAP'] == pytest.approx(0.5) and got['boxes'] == 3
    # The same common classes where nothing is transferred: what the loss is measured against.
    own = boxes(((50, 50), d('large-vehicle')), ((150, 50), d('small-vehicle')))
    assert score(truth, own, DOTA)['vehicle/AP50'] == pytest.approx(1)


def test_bad_arguments_of_the_metric():
    with pytest.raises(ValueError, match="predicted_classes='dota' needs a class_map"):
        OrientedMetric(predicted_classes='dota')
    with pytest.raises(ValueError, match="'dota-xview'"):
        OrientedMetric(class_map='dota-xview')
    with pytest.raises(ValueError, match="'DOTA'"):
        OrientedMetric(class_map='dota-dior', predicted_classes='DOTA')
    found = boxes(((50, 50), DIOR.index('windmill')))
    with pytest.raises(ValueError, match='has 15 names.*label 19'):
        score(boxes(((50, 50), 0)), found, DIOR, predicted_classes='dota')
