"""Every recipe trains for a step or two on drawn data; what is frozen does not move by a bit."""

import json
import math
import sys
import types

import everyday
import pytest
import stepping
import zoo

pytestmark = pytest.mark.filterwarnings('ignore:Unnecessary conv bias:UserWarning')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return everyday.draw(tmp_path_factory.mktemp('everyday'))


@pytest.fixture
def lvis(monkeypatch):
    """The package ``lvis``, where it is not installed: mmdet's reader of COCO has what it uses."""
    try:
        import lvis  # noqa: F401
    except ImportError:
        from mmdet.datasets.api_wrappers import COCO

        monkeypatch.setitem(sys.modules, 'lvis', types.SimpleNamespace(LVIS=COCO))


def _groups():
    """Names by all that a step depends on; the others differ in the length of their schedule."""
    found = {}
    for name in zoo.RECIPES:
        cfg = zoo.offline(zoo.load(name)).to_dict()
        keys = ('model', 'train_dataloader', 'optim_wrapper', 'custom_hooks')
        found.setdefault(json.dumps([cfg.get(k) for k in keys]), []).append(name)
    return [names[0] for names in found.values()]


@pytest.mark.parametrize('name', _groups())
def test_steps(name, root, lvis, tmp_path):
    cfg = everyday.shrink(everyday.move(zoo.load(name), root), tmp_path)
    method = zoo.part(name, 'method')
    probing = method is not None and method.startswith('dp-ft')
    if probing:
        cfg.custom_hooks[0].schedule.probe = 1
    for hook in cfg.get('custom_hooks', []):
        if hook.type == 'DistortionRegularizerHook':
            hook.num_batches = 1
    if cfg.train_dataloader.dataset.type == 'ClassBalancedDataset':
        cfg.train_dataloader.dataset.oversample_thr = 0.9  # of three pictures
    watch = everyday.train(cfg, steps=2 if probing else 1)
    for losses in watch.losses:
        assert all(math.isfinite(v) for v in losses.values()), losses
        boxes = [v for k, v in losses.items() if 'bbox' in k]
        assert boxes and max(boxes) > 0, 'no object was assigned'
        assert any('mask' in k for k in losses) == ('mask' in zoo.part(name, 'algorithm'))
    for step in range(len(watch.losses)):
        moved = watch.moved(step)
        backbone = {k for k in moved if k.startswith('backbone.')}
        blocks = {k for k in backbone if k.startswith('backbone.blocks.')}
        assert bool(blocks) == (method == 'adapter')
        backbone -= blocks
        trains = method is None or (probing and step == 1)
        assert bool(backbone) == trains, sorted(backbone)[:3]
        if method == 'classifier':
            assert moved and all('.fc_cls.' in k for k in moved)
        else:
            assert any(k.startswith('neck.') for k in moved)
            assert any(k.startswith('rpn_head.') for k in moved)
            assert any(k.startswith('roi_head.bbox_head.') for k in moved)


STRONG = [n for n in zoo.NAMES if '_nasfpn_frozen-1x_' in n]


@pytest.mark.parametrize('name', STRONG)
def test_strong_decoders_on_aerial_pictures(name, toy_root, tmp_path):
    """Oriented detectors too: the frozen ones, whose twins differ in the hook alone."""
    cfg = stepping.shrink(zoo.load(name), toy_root[zoo.part(name, 'data')], tmp_path, size=256)
    cfg = everyday.shrink(cfg, tmp_path, size=256)
    watch = stepping.train(cfg, epochs=1)
    (losses,) = watch.losses
    assert all(math.isfinite(v) for v in losses.values()), losses
    boxes = [v for k, v in losses.items() if 'bbox' in k]
    assert boxes and max(boxes) > 0, 'no object was assigned'
    moved = watch.moved(0)
    assert not any(k.startswith('backbone.') for k in moved)
    assert any(k.startswith('neck.') for k in moved)
    assert any('head' in k for k in moved)


def test_the_hook_does_to_a_resnet_what_frozen_stages_does(root, tmp_path):
    """The other way to freeze, which only some backbones have: bit for bit the same training."""
    name = 'faster-rcnn_r50_nasfpn_frozen-72e_coco'
    ours = everyday.shrink(everyday.move(zoo.load(name), root), tmp_path / 'hook')
    theirs = everyday.shrink(everyday.move(zoo.load(name), root), tmp_path / 'frozen_stages')
    theirs.pop('custom_hooks')
    theirs.model.backbone.frozen_stages = 4
    ends = [everyday.train(cfg, steps=2).weights for cfg in (ours, theirs)]
    assert ends[0][-1].keys() == ends[1][-1].keys()
    assert [k for k in ends[0][-1] if not ends[0][-1][k].equal(ends[1][-1][k])] == []
    assert any(not ends[0][0][k].equal(ends[0][-1][k]) for k in ends[0][0])
