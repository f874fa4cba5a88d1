"""Every detector of the zoo trains on both data sets with both backbones, under its schedule."""

import math

import pytest
import stepping
import zoo

from mmbackbone_plugins.lab.toy.miniature import miniature

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


@pytest.mark.parametrize('method', ['', 'frozen-'])
def test_full_and_frozen(method, toy_root, tmp_path):
    name = f'rotated-retinanet-rbox-le90_r50_fpn_{method}1x_dota'
    cfg = stepping.shrink(zoo.load(name), toy_root['dota'], tmp_path)
    watch = stepping.train(cfg, epochs=2)
    for epoch in (0, 1):
        moved = [k for k in watch.moved(epoch) if k.startswith('backbone.')]
        assert bool(moved) == (method == '')


@pytest.mark.parametrize('method', ['l2sp', 'rgn-reg', 'ewc', 'dp-ft', 'dp-ft-rgn-reg'])
def test_held_back(method, toy_root, tmp_path):
    """In the second step the backbone has moved, and the penalty has something to pull."""
    cfg = zoo.load(f'oriented-rcnn-le90_r50_fpn_{method}-1x_dior')
    stepping.shrink(cfg, toy_root['dior'], tmp_path)
    for hook in cfg.custom_hooks:
        if hook.type == 'FreezingSchedulerHook':
            hook.schedule.probe = 1
        else:
            hook.interval = 1
    cfg.optim_wrapper.optimizer.lr = 0.01
    cfg.param_scheduler = None
    watch = stepping.train(cfg, epochs=3)
    probing = method.startswith('dp-ft')
    for epoch in range(3):
        moved = [k for k in watch.moved(epoch) if k.startswith('backbone.')]
        assert bool(moved) == (epoch > 0 or not probing)
    held = zoo.regulariser(cfg) is not None
    penalties = [row.get('distortion/penalty') for row in stepping.scalars(tmp_path)]
    assert penalties[0] == (None if probing or not held else 0)
    assert (penalties[2] is not None and penalties[2] > 0) == held
    files = [f.name for f in tmp_path.glob('importance-*.pth')]
    assert len(files) == (held and zoo.regulariser(cfg).importance != 'uniform')


@pytest.mark.parametrize('method', ['se', 'se-dp-ft', 'adapter'])
def test_blocks(method, toy_root, tmp_path):
    """Blocks train in every epoch, the backbone as its schedule says."""
    cfg = zoo.load(f'rotated-retinanet-rbox-le90_r50_fpn_{method}-1x_dota')
    stepping.shrink(cfg, toy_root['dota'], tmp_path)
    if method == 'se-dp-ft':
        cfg.custom_hooks[0].schedule.probe = 1
    watch = stepping.train(cfg, epochs=2)
    for epoch, trains in enumerate({'se': (1, 1), 'se-dp-ft': (0, 1), 'adapter': (0, 0)}[method]):
        moved = watch.moved(epoch)
        blocks = {k.split('.')[2] for k in moved if k.startswith('backbone.blocks.')}
        assert blocks == {'stage1', 'stage2', 'stage3', 'stage4'}
        assert any(k.startswith('backbone.layer4.') for k in moved) == bool(trains)
        assert not any(k.startswith(('backbone.conv1', 'backbone.layer1.')) for k in moved)


def test_everything_at_once(toy_root, tmp_path):
    """The config with all methods: each of them does its part, and leaves its record."""
    cfg = zoo.load('oriented-rcnn-le90_r50_fpn_combined-1x_dior')
    miniature(stepping.shrink(cfg, toy_root['dior'], tmp_path), toy_root['dior'])
    freeze, hold, rgn, _, eigen, _ = cfg.custom_hooks
    freeze.schedule.probe = hold.interval = rgn.interval = 1
    eigen.update(split='train', num_batches=1)
    cfg.optim_wrapper.optimizer.lr = 0.01
    cfg.param_scheduler = None
    watch = stepping.train(cfg, epochs=3)
    for epoch in range(3):
        moved = watch.moved(epoch)
        assert any(k.startswith('backbone.blocks.') for k in moved)
        assert any(k.startswith('backbone.layer4.') for k in moved) == (epoch > 0)
    rows = stepping.scalars(tmp_path)
    assert [row.get('distortion/penalty', 0) > 0 for row in rows] == [False, False, True]
    assert [row['freezing/trainable_stages'] > 0 for row in rows] == [False, True, True]
    names = {p.name for p in tmp_path.rglob('*') if p.is_file()}
    assert {'rgn.jsonl', 'drift.jsonl', 'eigen.jsonl', 'cost.json', 'epoch_0.npz'} <= names
    assert sum(name.startswith('importance-rgn-') for name in names) == 1
