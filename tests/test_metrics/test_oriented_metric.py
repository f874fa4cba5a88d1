"""The metric against plain loops in float64, and against DOTAMetric itself."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, DefaultScope
from oriented_scenes import plain_ap, samples, scene

from mmbackbone_plugins import OrientedMetric
from mmbackbone_plugins.lab.launch import register_modules
from mmbackbone_plugins.metrics import Detections, Truth, oriented_ap

CLASSES = ('plane', 'ship', 'bridge', 'harbor', 'windmill')
THRESHOLDS = [percent / 100 for percent in range(50, 100, 5)]


@pytest.fixture(scope='module')
def images():
    """Nothing of class 2 is labelled, nothing of class 3 is found; four images are empty."""
    rng = np.random.default_rng(3)
    made = [scene(rng, 5, absent=[2], unseen=[3], ignored=i % 3) for i in range(24)]
    made += [scene(rng, 5, unseen=[3], ignored=i, empty=True) for i in (5, 6, 4, 0)]
    nothing = Detections(np.zeros((0, 5), np.float32), np.zeros(0, int), np.zeros(0, np.float32))
    made.append((made[0][0], nothing))
    return tuple(zip(*made))


def score(images, classes=CLASSES, **options):
    metric = OrientedMetric(**options)
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, samples(*images))
    return metric.evaluate(len(images[0]))


@pytest.mark.parametrize('mode', ['11points', 'area'])
def test_plain_loops(mode, images):
    found = oriented_ap(*images, 5, THRESHOLDS, eval_mode=mode)
    for label in range(5):
        for k, threshold in enumerate(THRESHOLDS):
            expected = plain_ap(*images, label, threshold, mode)
            assert found.ap[label, k] == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert np.isnan(found.ap[2]).all() and (found.ap[3] == 0).all()
    assert 0.2 < np.nanmean(found.ap) < 0.8 and (found.ap[0, 1:] <= found.ap[0, :-1]).all()
    assert found.detections[3] == 0 and found.boxes[2] == 0


class InProcess:
    """Stands in for the pool of processes of ``DOTAMetric``; what they run is its own."""

    def __init__(self, *args):
        pass

    def Pool(self, count):
        return self

    def starmap(self, function, arguments):
        return [function(*a) for a in arguments]

    def close(self):
        pass


def dota(images, monkeypatch, **options):
    import mmrotate.evaluation.functional.mean_ap as home
    from mmrotate.evaluation import DOTAMetric

    monkeypatch.setattr(home, 'get_context', InProcess)
    metric = DOTAMetric(iou_thrs=THRESHOLDS, **options)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples(*images))
    return metric.evaluate(len(images[0]))


@pytest.mark.parametrize('mode', ['11points', 'area'])
def test_dota_metric(mode, images, monkeypatch):
    expected = dota(images, monkeypatch, eval_mode=mode)
    found = score(images, eval_mode=mode)
    assert found['oriented/mAP'] == pytest.approx(expected['dota/mAP'], abs=1e-6)
    for name, value in expected.items():
        if name != 'dota/mAP':
            assert round(found[name.replace('dota', 'oriented')], 3) == value
    assert len(expected) == 11


def test_dota_metric_with_corners(images, monkeypatch):
    from mmrotate.structures.bbox import rbox2qbox

    def quads(boxes):
        return rbox2qbox(torch.from_numpy(boxes)).numpy().reshape(-1, 8)

    truths = [Truth(quads(t.boxes), t.labels, quads(t.ignored_boxes), t[3]) for t in images[0]]
    found = [Detections(quads(d.boxes), d.labels, d.scores) for d in images[1]]
    expected = dota((truths, found), monkeypatch, predict_box_type='qbox')
    got = score((truths, found), predict_box_type='qbox')
    assert got['oriented/mAP'] == pytest.approx(expected['dota/mAP'], abs=1e-6)
    assert got['oriented/mAP'] == pytest.approx(score(images)['oriented/mAP'], abs=2e-3)


def test_names_and_means(images):
    found = score(images)
    ap = oriented_ap(*images, 5, THRESHOLDS).ap
    assert found['oriented/mAP'] == pytest.approx(np.nanmean(ap), rel=1e-12)
    assert found['oriented/AP75'] == pytest.approx(np.nanmean(ap[:, 5]), rel=1e-12)
    assert found['oriented/ship/AP50'] == ap[1, 0]
    assert found['oriented/ship/mAP'] == pytest.approx(ap[1].mean(), rel=1e-12)
    assert math.isnan(found['oriented/bridge/AP50']) and found['oriented/harbor/mAP'] == 0
    assert found['oriented/images'] == 29
    boxes = {name: found[f'oriented/{name}/boxes'] for name in CLASSES}
    assert sum(boxes.values()) == found['oriented/boxes'] == sum(len(t.boxes) for t in images[0])
    assert boxes['bridge'] == 0
    total = {f'oriented/AP{round(100 * t)}' for t in THRESHOLDS}
    total |= {f'oriented/{key}' for key in ('mAP', 'images', 'boxes')}
    each = {f'oriented/{n}/{k}' for n in CLASSES for k in ('mAP', 'AP50', 'AP75', 'boxes')}
    assert found.keys() == total | each
    assert score(images, classwise=False).keys() == total
    assert score(images, iou_thrs=0.3, classwise=False)['oriented/AP30'] > found['oriented/AP50']


def test_no_labelled_box(images):
    truths = [t._replace(boxes=t.boxes[:0], labels=t.labels[:0]) for t in images[0]]
    assert math.isnan(score((truths, images[1]))['oriented/mAP'])


def test_an_image_without_truth():
    """A data set may give no labels for an image: everything found there is wrong."""
    metric = OrientedMetric()
    metric.dataset_meta = dict(classes=('plane',))
    rng = np.random.default_rng(0)
    made = samples(*zip(*[scene(rng, 1, ignored=0) for _ in range(2)]))
    made[1].update(gt_instances={})
    del made[1]['ignored_instances']
    metric.process({}, made)
    assert metric.evaluate(2)['oriented/boxes'] == len(made[0]['gt_instances']['labels'])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(iou_thrs=[]), 'iou_thrs'),
        (dict(iou_thrs=[50]), r'iou_thrs.*\[50\]'),
        (dict(iou_thrs=[0.5, 0.501]), '0.01'),
        (dict(eval_mode='coco'), "'11points', 'area'.*'coco'"),
        (dict(predict_box_type='hbox'), "predict_box_type.*'hbox'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        OrientedMetric(**options)


def test_boxes_of_another_type(images):
    with pytest.raises(ValueError, match=r"predict_box_type='qbox'.*8 numbers.*\(\d+, 5\)"):
        score(images, predict_box_type='qbox')


@pytest.mark.parametrize('scope', ['mmdet', 'mmrotate'])
def test_the_plain_name_in_every_scope(scope):
    register_modules()
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(METRICS.build(dict(type='OrientedMetric')), OrientedMetric)
