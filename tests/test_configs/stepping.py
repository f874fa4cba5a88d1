"""Runs a config of the zoo for a step or two on a CPU."""

from typing import Any

import torch
import zoo
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner


class Watch(Hook):
    """Keeps the weights after every epoch, and the losses."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []
        self.losses: list[dict[str, float]] = []

    def before_train(self, runner) -> None:
        self._keep(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append({k: v.item() for k, v in outputs.items()})

    def after_train_epoch(self, runner) -> None:
        self._keep(runner)

    def _keep(self, runner) -> None:
        self.weights.append({k: v.clone() for k, v in runner.model.state_dict().items()})

    def moved(self, epoch: int) -> list[str]:
        """Names of what is not, bit for bit, as it was before that epoch."""
        before, after = self.weights[epoch], self.weights[epoch + 1]
        return [k for k in before if not torch.equal(before[k], after[k])]


def small(cfg: Config, root, size: int = 64) -> dict[str, Any]:
    """What makes a config small, for a CPU and offline, as a user would by ``--cfg-options``."""
    options: dict[str, Any] = {
        'model.backbone.init_cfg': None,
        'default_hooks.checkpoint': None,
        'default_hooks.logger.interval': 1,
    }
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        steps = [t.type for t in cfg[loader].dataset.pipeline]
        resize = steps.index('mmdet.Resize')
        options[f'{loader}.dataset.pipeline.{resize}.scale'] = (size, size)
        options[f'{loader}.dataset.data_root'] = f'{root}/'
        options[f'{loader}.num_workers'] = 0
        options[f'{loader}.persistent_workers'] = False
    if 'roi_head' in cfg.model and isinstance(cfg.model.train_cfg.rcnn, dict):  # no cascade
        options['model.train_cfg.rcnn.sampler.num'] = 64  # RoI pooling is slow on a CPU
    return options


def shrink(cfg: Config, root, work_dir, size: int = 64) -> Config:
    """Overrides a config in place: small, in a work dir, quiet."""
    name = str(work_dir).replace('/', '_')  # loggers and the like go by name
    options = dict(work_dir=str(work_dir), log_level='WARNING', experiment_name=name)
    cfg.merge_from_dict({**options, **small(cfg, root, size), 'visualizer.name': name})
    return cfg


def train(cfg: Config, epochs: int) -> Watch:
    """Trains under the config's own hooks, without validation."""
    cfg.train_cfg.max_epochs = epochs
    for split in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{split}_{key}'] = None
    runner = Runner.from_cfg(cfg)
    watch = Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    return watch


def on_cpu(name: str) -> Config:
    """The config, with what has no CPU kernel replaced."""
    cfg = zoo.load(name)
    if zoo.part(name, 'algorithm') == 'rotated-fcos-le90':
        # RotatedIoULoss is CUDA only in mmcv. In its place the losses of mmrotate's own variant of
        # this head for horizontal boxes, which run everywhere; the zoo keeps the real loss.
        head = cfg.model.bbox_head
        assert head.loss_bbox.type == 'RotatedIoULoss'
        head.update(
            use_hbbox_loss=True,
            angle_coder=dict(type='PseudoAngleCoder'),
            loss_bbox=dict(type='mmdet.IoULoss', loss_weight=1.0),
            loss_angle=dict(type='mmdet.L1Loss', loss_weight=0.2),
        )
    return cfg
