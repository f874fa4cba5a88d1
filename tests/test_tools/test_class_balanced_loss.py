"""The tool that weighs a classifier's loss by how rare its classes are."""

import sys
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).parents[2]
TOOL = 'misc/class_balanced_loss'
CONFIG = ROOT / 'configs' / 'frozen' / 'cascade-rcnn_r50_nasfpn_frozen-72e_coco.py'


@pytest.fixture(scope='module')
def tool():
    return rig.load_tool(TOOL)


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """COCO's layout with 5, 1 and 1 objects of its first three classes."""
    sys.path.insert(0, str(ROOT / 'tests' / 'test_configs'))
    import drawn
    from mmdet.datasets import CocoDataset

    root = tmp_path_factory.mktemp('coco')
    where = 'annotations/instances_train2017.json'
    labels = [[0, 0, 0], [0, 1], [0, 2]]
    drawn.coco(root, where, 'train2017/', CocoDataset.METAINFO['classes'], labels=labels)
    return root


def test_weights(tool):
    """The formula of Cui et al. by hand, at its two ends and in between."""
    assert tool.weights([7, 1, 500], beta=0.0) == pytest.approx([1, 1, 1])
    rare = [1 / 2, 1 / 8]
    assert tool.weights([2, 8], beta=1 - 1e-9) == pytest.approx(
        [r / 0.3125 for r in rare], rel=1e-5
    )
    inverse = [0.5 / (1 - 0.5**1), 0.5 / (1 - 0.5**3)]  # 1 and 4/7
    assert tool.weights([1, 3], beta=0.5) == pytest.approx([i / (11 / 14) for i in inverse])
    assert tool.weights([0, 5], beta=0.9) == tool.weights([1, 5], beta=0.9)


def test_written_config(coco, tmp_path, capsys):
    out = tmp_path / 'balanced.py'
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={coco}/']
    assert not rig.call_tool(TOOL, CONFIG, '--out', out, '--beta', '0.5', *options)
    assert '80 classes of 0 to 5 objects, 77 of them without any' in capsys.readouterr().out
    cfg = Config.fromfile(out)
    init_default_scope('mmdet')
    for head in cfg.model.roi_head.bbox_head:
        found = head.loss_cls.class_weight
        assert len(found) == 81 and found[-1] == 1 and sum(found[:-1]) == pytest.approx(80)
        assert found[1] == found[2] == max(found) and found[0] == pytest.approx(found[1] * 16 / 31)
        loss, scores = MODELS.build(head.loss_cls), torch.zeros(2, 81)
        weighed = loss(scores, torch.tensor([0, 1]), reduction_override='none')
        assert weighed[0] / weighed[1] == pytest.approx(16 / 31)
    changed = cfg.model.to_dict()
    for head in changed['roi_head']['bbox_head']:
        head['loss_cls'].pop('class_weight')
    assert changed == Config.fromfile(CONFIG).model.to_dict()


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model.roi_head': None}, 'model has no roi_head'),
        ({'model.roi_head.bbox_head.loss_cls.use_sigmoid': True}, 'with a softmax, got'),
        (
            {'train_dataloader.dataset': dict(type='ConcatDataset', datasets=[])},
            'ConcatDataset joins several',
        ),
    ],
)
def test_bad_config(options, message, tool):
    cfg = Config.fromfile(CONFIG.with_name('faster-rcnn_r50_fpn_frozen-72e_coco.py'))
    for key in options:
        if key.startswith('train'):
            cfg.train_dataloader.pop('dataset')
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=message):
        tool.balance(cfg, beta=0.9)


def test_bad_beta(tmp_path, capsys):
    assert rig.call_tool(TOOL, CONFIG, '--out', tmp_path / 'out.py', '--beta', '1') == 2
    assert '--beta must be at least 0 and below 1, got 1.0' in capsys.readouterr().err
