"""Makes the configs of the mirror small, draws their data, and makes checkpoints that fit them.

Run in the mirror: ``small_configs.py CONFIG ...`` or ``small_configs.py --checkpoint CONFIG FILE``.
"""

import sys
from pathlib import Path

import everyday
import torch
import zoo
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmbackbone_plugins.lab import launch
from mmbackbone_plugins.lab.toy import make_toy_dataset

DEMO = 'configs/demo/rotated-retinanet_r18_fpn_full_toy-dota.py'
WATCHED = [
    dict(type='FreezingSchedulerHook', schedule=dict(type='StepFreezing', rho=2)),
    dict(type='RGNHook', interval=1),
    dict(type='DriftHook', num_images=1),
    dict(type='EigenspectrumHook', num_batches=1),
]


def draw_data() -> None:
    """All but the toy data of ``data/toy_demo``, which commands draw themselves."""
    options = dict(counts=dict(train=1, val=1, test=1), size=128, classes='all', density=24)
    make_toy_dataset('data/split_ss_dota', fmt='dota', **options)
    make_toy_dataset('data/DIOR', fmt='dior', **options)
    everyday.draw(Path('data'))


def shrink(cfg: Config) -> Config:
    """A config of the zoo with its own method, schedule and data set, in small."""
    load_from, checkpoint = cfg.load_from, cfg.default_hooks.checkpoint
    everyday.shrink(cfg, Path('unused'), size=64)
    cfg.pop('work_dir')  # as the tools choose it
    cfg.pop('experiment_name')
    cfg.load_from = load_from and load_from.replace('epoch_12.pth', 'epoch_2.pth')
    for part in (zoo.original(cfg), cfg.model.neck):
        if (part.get('norm_cfg') or {}).get('type') == 'GN':
            part.norm_cfg.num_groups = 4
    checkpoint.pop('save_best', None)
    cfg.default_hooks.checkpoint = checkpoint
    return shorten(cfg)


def shorten(cfg: Config) -> Config:
    """Two epochs or iterations, with both halves of a schedule that has two.

    Validation counts, without the pool of processes that DOTAMetric starts; the test keeps its own.
    """
    unit = 'max_iters' if 'max_iters' in cfg.train_cfg else 'max_epochs'
    cfg.train_cfg.update({unit: 2, 'val_interval': 2})
    cfg.default_hooks.checkpoint.interval = 1
    for hook in cfg.get('custom_hooks', []):
        if 'probe' in hook.get('schedule', {}):
            hook.schedule.probe = 1
    cfg.val_evaluator = dict(type='CountMetric')
    cfg.custom_imports = dict(imports=['mmbackbone_plugins', 'rig'], allow_failed_imports=False)
    for hook in cfg.get('custom_hooks', []):
        if 'num_batches' in hook:
            hook.num_batches = 1
    return cfg


def shrink_demo(cfg: Config) -> Config:
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step.type == 'mmdet.Resize':
                step.scale = (64, 64)
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)
    return shorten(cfg)


def read(path: str) -> Config:
    cfg = Config.fromfile(path)
    return shrink_demo(cfg) if path.startswith('configs/demo/') else shrink(cfg)


def write(cfg: Config, path: str) -> None:
    Path(path).unlink(missing_ok=True)
    cfg.dump(path)


def stand_ins() -> None:
    """``CONFIG`` and ``OTHER_CONFIG``: all instruments at once, under two schedules."""
    for name, rho in (('CONFIG.py', 2), ('OTHER_CONFIG.py', 1)):
        cfg = read(DEMO)
        cfg.custom_hooks = [dict(h) for h in WATCHED]
        cfg.custom_hooks[0]['schedule'] = dict(type='StepFreezing', rho=rho)
        cfg.default_hooks.cost = dict(type='TrainingCostHook')
        cfg.auto_scale_lr = dict(enable=False, base_batch_size=4)
        write(cfg, name)


def save_checkpoint(config: str, path: str) -> None:
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    Path(path).parent.mkdir(exist_ok=True)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)


if __name__ == '__main__':
    launch.register_modules()
    if sys.argv[1] == '--checkpoint':
        save_checkpoint(*sys.argv[2:])
    else:
        draw_data()
        stand_ins()
        for name in sys.argv[1:]:
            write(read(name), name)
