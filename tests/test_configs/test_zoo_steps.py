"""Every detector of the zoo trains on both data sets with both backbones, under its schedule.

Every method of the zoo: test_zoo_tools.py.
"""

import math

import pytest
import stepping
import zoo

# One config for each detector, data set and backbone: the one where the backbone trains in some
# epochs and is frozen in others.
CASES = [n for n in zoo.NAMES if zoo.part(n, 'method') == 'dbf-rho10' and '-1x_' in n]


def test_every_detector_data_set_and_backbone_is_here():
    parts = ('algorithm', 'data', 'backbone')
    assert {tuple(zoo.part(n, p) for p in parts) for n in CASES} == {
        tuple(zoo.part(n, p) for p in parts) for n in zoo.NAMES if zoo.part(n, 'neck') == 'fpn'
    }  # the others: test_recipe_steps.py


@pytest.mark.parametrize('name', CASES)
def test_one_trained_and_one_frozen_epoch(name, toy_root, tmp_path):
    root = toy_root[zoo.part(name, 'data')]
    cfg = stepping.shrink(stepping.on_cpu(name), root, tmp_path)
    watch = stepping.train(cfg, epochs=2)

    assert len(watch.losses) == 2  # one picture: one step an epoch
    for losses in watch.losses:
        assert all(math.isfinite(v) for v in losses.values()), losses
        boxes = [v for k, v in losses.items() if 'bbox' in k]
        assert boxes and max(boxes) > 0, 'no object was assigned'

    trained, frozen = watch.moved(0), watch.moved(1)
    assert any(k.startswith('backbone.') for k in trained)
    assert not any(k.startswith('backbone.') for k in frozen)
    for moved in (trained, frozen):
        assert any(k.startswith('neck.') for k in moved)
        assert any('head' in k for k in moved)
    if zoo.part(name, 'backbone') == 'r50':
        # What the backbone freezes by itself is frozen in the trained epoch as well.
        assert not any(k.startswith(('backbone.conv1', 'backbone.layer1.')) for k in trained)


def test_from_scratch_everything_trains(toy_root, tmp_path):
    name = 'oriented-rcnn-le90_r50_fpn_scratch-gn-100e_dota'
    watch = stepping.train(stepping.shrink(zoo.load(name), toy_root['dota'], tmp_path), epochs=1)
    assert all(math.isfinite(v) for v in watch.losses[0].values())
    backbone = {k for k in watch.weights[0] if k.startswith('backbone.')}
    assert backbone <= set(watch.moved(0))
