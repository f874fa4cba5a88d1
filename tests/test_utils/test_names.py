"""Names in configs: classes where names stand, and names that were mistyped."""

import pytest

from mmbackbone_plugins.lab import planning
from mmbackbone_plugins.lab.benchmarking.folder import CONFIG, RunFolder
from mmbackbone_plugins.lab.benchmarking.plan import Run
from mmbackbone_plugins.lab.datasets import layouts
from mmbackbone_plugins.lab.launch import load_config
from mmbackbone_plugins.metrics import insert_corruption
from mmbackbone_plugins.utils.names import type_name

LAZY = """
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.models import FPN, DetDataPreprocessor, ResNet, RetinaHead, RetinaNet
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from torch.optim import SGD

from mmbackbone_plugins import FreezingSchedulerHook, StepFreezing, TrainingCostHook
from mmrotate.datasets import DOTADataset

pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations, with_bbox=True),
    dict(type=Resize, scale=(96, 64), keep_ratio=True),
    dict(type=PackDetInputs),
]
model = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor, pad_size_divisor=32),
    backbone=dict(type=ResNet, depth=18, base_channels=4),
    neck=dict(type=FPN, in_channels=[4, 8, 16, 32], out_channels=4, num_outs=5),
    bbox_head=dict(type=RetinaHead, num_classes=3, in_channels=4, feat_channels=4),
)
dataset = dict(type=DOTADataset, data_root='none', ann_file='annfiles/', pipeline=pipeline)
train_dataloader = dict(batch_size=2, dataset=dataset)
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=4)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.01))
custom_hooks = [
    dict(type=FreezingSchedulerHook, schedule=dict(type=StepFreezing, rho=2)),
    dict(type=TrainingCostHook),
]
"""


class Resize:
    pass


@pytest.mark.parametrize('kind', ['Resize', 'mmdet.Resize', 'mmdet.datasets.Resize', Resize])
def test_the_type_of_a_config_by_its_bare_name(kind):
    assert type_name(dict(type=kind)) == 'Resize'


def test_a_config_in_pure_python_is_read_like_one_with_names(tmp_path):
    """Case 15: its types are classes."""
    path = tmp_path / 'lazy.py'
    path.write_text(LAZY)
    preview = planning.preview_run(str(path))
    assert preview.hook and repr(preview.schedule) == 'StepFreezing(rho=2, by_epoch=True)'
    assert preview.shape == (64, 96)
    cfg = load_config(str(path))
    assert [split.fmt for split in layouts.splits_of_config(cfg)] == ['dota']
    steps = insert_corruption(cfg.train_dataloader.dataset, 'fog', 1)['pipeline']
    assert [type_name(step) for step in steps][:2] == ['LoadImageFromFile', 'Corruption']


def test_a_benchmark_measures_a_config_in_pure_python_once(tmp_path):
    """Case 15: a hook that is there by its class is not added again, and the folder can be read."""
    path = tmp_path / 'lazy.py'
    path.write_text(LAZY)
    run = Run('d', 'r', 'm', 0, str(path), {}, (), (), {'cost': {}, 'drift': {}})
    folder = RunFolder(run, tmp_path / 'run', '')
    folder.make_ready()
    folder.check()
    for cfg in (folder.config(), load_config(str(folder.path / CONFIG))):
        hooks = [*cfg.custom_hooks, *cfg.default_hooks.values()]
        found = sorted(type_name(hook) for hook in hooks)
        assert found == ['DriftHook', 'FreezingSchedulerHook', 'TrainingCostHook']
