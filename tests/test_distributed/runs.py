"""Zoo configs of every method, small enough for ranks on a CPU, and how they are started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import rig
import zoo
from mmengine.config import Config

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZE = 64
RETINA = 'rotated-retinanet-rbox-le90_r50_fpn'
ORIENTED = 'oriented-rcnn-le90_r50_fpn'
PROBE = {'custom_hooks.0.schedule': dict(type='ProbeThenFinetune', probe=1)}
HELD = {'custom_hooks.0.interval': 1}

# Method: a config of the zoo, and what turns its schedule into one of four epochs.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    'dbf': (f'{RETINA}_dbf-rho10-1x_dota', {'custom_hooks.0.schedule.rho': 2}),
    'rgn': (
        f'{RETINA}_rgn-dbf-rho10-1x_dota',
        {'custom_hooks.0.schedule.rho': 2, 'custom_hooks.1.interval': 1},
    ),
    'uniform': (f'{RETINA}_l2sp-1x_dota', HELD),
    'rgn-reg': (f'{RETINA}_rgn-reg-1x_dota', HELD),
    'ewc': (f'{RETINA}_ewc-1x_dota', HELD),
    'fisher': (f'{RETINA}_rgn-reg-1x_dota', {**HELD, 'custom_hooks.0.importance': 'fisher'}),
    'eigen': (f'{RETINA}_eigen-1x_dota', {}),
    'cost': (
        f'{RETINA}_dbf-rho10-1x_dota',
        {'custom_hooks.0.schedule.rho': 2, 'default_hooks.cost': dict(type='TrainingCostHook')},
    ),
    'se': (f'{RETINA}_se-dp-ft-1x_dota', {'custom_hooks.0.schedule.probe': 1}),
    'adapter': (f'{RETINA}_adapter-1x_dota', PROBE),
    'combined': (
        f'{ORIENTED}_combined-1x_dota',
        {
            'custom_hooks.0.schedule.probe': 1,
            'custom_hooks.1.interval': 1,
            'custom_hooks.2.interval': 1,
        },
    ),
}


def shrink(cfg: Config, data_root: Path, channels: int = 8) -> Config:
    """A zoo config of a rotated detector at a hundredth of its size."""
    backbone, neck = zoo.original(cfg), cfg.model.neck
    backbone.update(depth=18, base_channels=channels, init_cfg=None)
    neck.update(in_channels=[channels * 2**i for i in range(4)], out_channels=16)
    for head in ('bbox_head', 'rpn_head'):
        if head in cfg.model:
            cfg.model[head].update(in_channels=16, feat_channels=16)
    if 'bbox_head' in cfg.model:
        cfg.model.bbox_head.stacked_convs = 1
    else:
        roi = cfg.model.roi_head
        roi.bbox_roi_extractor.out_channels = 16
        roi.bbox_head.update(in_channels=16, fc_out_channels=32)
        cfg.model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=100)
        cfg.model.train_cfg.rcnn.sampler.num = 32
        cfg.model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    if 'per_stage' in cfg.model.backbone:
        cfg.model.backbone.per_stage.reduction = [2, 2, 2, 2]
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = f'{data_root}/'
        for step in loader.dataset.pipeline:
            if step.type == 'mmdet.Resize':
                step.scale = (SIZE, SIZE)
    cfg.val_evaluator = dict(type='CountMetric')  # DOTAMetric starts a pool at every validation
    cfg.default_hooks.checkpoint.update(save_best='count')
    cfg.default_hooks.logger.interval = 1
    cfg.param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[3], gamma=0.1)]
    cfg.custom_imports.imports = ['mmbackbone_plugins', 'rig', 'ranks']
    return cfg


def write_config(
    folder: Path, method: str, data_root: Path, hooks: tuple = (), **options: Any
) -> Path:
    """Writes the config file of a method; ``hooks`` are added to its own."""
    name, changes = METHODS[method]
    cfg = shrink(zoo.load(name), data_root)
    cfg.merge_from_dict({**changes, **options})
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    cfg.visualizer.name = f'{folder.name}-{method}'  # one of its own: they are global by name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{method}.py'
    Config(cfg.to_dict(), format_python_code=False).dump(path)
    return path


def environment() -> dict[str, str]:
    folders = [ROOT, HERE.parent, HERE]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders)), OMP_NUM_THREADS='1')


def command(ranks: int, script: Path, *arguments: Any) -> list[str]:
    """The command line that a user would type, with a free port."""
    torchrun = ['-m', 'torch.distributed.run', f'--nproc_per_node={ranks}']
    torchrun += [f'--master_port={rig.free_port()}']
    start = [sys.executable, *torchrun] if ranks > 1 else [sys.executable]
    return [*start, str(script), *map(str, arguments)]


def train(ranks: int, *arguments: Any, check: bool = True) -> subprocess.CompletedProcess:
    """Runs ``tools/train.py`` under torchrun, or by itself for one process."""
    launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
    script = ROOT / 'tools' / 'train.py'
    done = subprocess.run(
        command(ranks, script, *arguments, *launcher),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert not check or done.returncode == 0, done.stdout[-5000:]
    return done


def train_many(ranks: int, jobs: list[list[Any]]) -> None:
    """Runs ``tools/train.py`` once for each list of arguments, in one group of processes.

    Starting a process takes longer than any of these runs.
    """
    launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
    text = json.dumps([[*map(str, job), *launcher] for job in jobs])
    done = subprocess.run(
        command(ranks, HERE / 'many.py', text),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-8000:]


def reports(folder: Path, ranks: Optional[int] = None) -> list[dict[str, Any]]:
    """What each rank has reported, by rank."""
    found = [json.loads((folder / f'{r}.json').read_text()) for r in range(ranks or 1)]
    assert len(list(folder.glob('*.json'))) == len(found)
    return found
