"""Small trainings that draw random numbers everywhere, and how they are killed and compared.

Processes are forked from a server that has imported everything; each leads a process group, so that
the workers of its loader end with it.
"""

import os
import random
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import numpy as np
import rig
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmbackbone_plugins.hooks.importance_pass import ImportancePass
from mmbackbone_plugins.hooks.jsonl import read_lines
from mmbackbone_plugins.lab import interruption, launch
from mmbackbone_plugins.lab.resume import last_checkpoint

TORN = b'{"iter": 1, "time'  # half of whatever was written
TIMES = ('time', 'seconds')  # parts of names of what no two runs share


@DATASETS.register_module(force=True)
class Jittered(Dataset):
    """Six images, each brightened by numbers of all three generators."""

    metainfo: dict = {}

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = torch.rand(3, 8, 8) + random.random() + float(np.random.rand()) + index
        return dict(inputs=image, data_samples=index)


@MODELS.register_module(force=True)
class TwoStages(BaseModel):
    """Two stages with norms and dropout, and a head; ``norm_eval`` as that of mmdet's backbones."""

    def __init__(self, norm_eval: bool = False) -> None:
        super().__init__()
        self.norm_eval = norm_eval
        widths = (3, 4, 4)
        self.backbone = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(0.3))
                for a, b in zip(widths, widths[1:])
            )
        )
        self.head = nn.Linear(4, 1)

    def train(self, mode: bool = True) -> 'TwoStages':
        super().train(mode)
        if self.norm_eval:
            for norm in (m for m in self.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.eval()
        return self

    def loss(self, inputs, data_samples):
        time.sleep(0.01)  # on a quiet machine it would have ended before it can be killed
        found = self.head(self.backbone(torch.stack(list(inputs))).mean((2, 3)))
        return dict(loss=(found - random.random()).square().mean())

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.loss(inputs, data_samples)


class Dying:
    """Kills this process where a file is opened to be written, and leaves half of it.

    Args:
        name: How the name of the file begins; ``'importance'`` is the estimate itself.
        nth: At which opening (which batch of the estimate).
    """

    def __init__(self, name: str, nth: int) -> None:
        self.name, self.left = name, nth
        if name == 'importance':
            seeded = ImportancePass._seeded
            ImportancePass._seeded = lambda *args: map(self._count, seeded(*args))
        else:
            sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple) -> None:
        if event != 'open' or not isinstance(arguments[0], str) or not arguments[1]:
            return
        path, mode = Path(arguments[0]), arguments[1]
        if path.name.startswith(self.name) and set(mode) & set('wa'):
            self._count(None, path, mode)

    def _count(self, batch: Any, path: Optional[Path] = None, mode: str = '') -> Any:
        self.left -= 1
        if not self.left:
            if path:
                kept = path.read_bytes() if 'a' in mode else b''
                path.write_bytes(kept + (TORN if self.name != 'last_checkpoint' else b''))
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


@HOOKS.register_module(force=True)
class Ask(Hook):
    """Asks its own process to end, as a scheduler does; ``full``: no file may grow any more."""

    def __init__(self, name: str, at: int, full: bool = False) -> None:
        self.number, self.at, self.full = getattr(signal, name, None), at, full

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            if self.full:
                resource.setrlimit(resource.RLIMIT_FSIZE, (15000, resource.RLIM_INFINITY))
            if self.number:
                os.kill(os.getpid(), self.number)


@HOOKS.register_module(force=True)
class Slow(Hook):
    """Takes a second for an iteration, but in a job that was requeued."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        time.sleep('SLURM_RESTART_COUNT' not in os.environ)


def main(folder: Path, options: dict[str, Any], env: dict[str, Any], die: Any) -> None:
    """One process of a training that goes on where the work dir says; ``begun`` marks the start."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests may be started by nohup
    with open(folder / f'log{env.get("RANK", 0)}.txt', 'a') as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    os.environ.update({key: str(value) for key, value in env.items()})
    torch.set_num_threads(1)
    if die:
        Dying(*die)
    options = dict(options)
    if env:
        cfg = launch.Config(dict(launcher='pytorch'))
        launch.start_processes(cfg)
        options.update(launcher='pytorch', model_wrapper_cfg=cfg.model_wrapper_cfg)
    path, _ = last_checkpoint(str(folder))
    loader = dict(
        batch_size=1 if env else 2,
        num_workers=options.pop('workers', 0),
        persistent_workers=options.pop('persistent', False),
        sampler=dict(type='InfiniteSampler' if 'iters' in options else 'DefaultSampler'),
        collate_fn=dict(type='pseudo_collate'),
        dataset=dict(type='Jittered'),
    )
    every = dict(type='CheckpointHook', interval=options.pop('interval', 1), by_epoch=False)
    settings = dict(
        # In eval mode on several ranks: the statistics of the first alone are in a checkpoint.
        model=dict(type='TwoStages', norm_eval=bool(env)),
        train_dataloader=loader,
        default_hooks=dict(checkpoint=every, logger=dict(type='LoggerHook', interval=1)),
    )
    if options.get('model'):
        settings = {}  # a detector on still images, with checkpoints of epochs
    settings.update(options, resume=path is not None, load_from=path)
    with interruption.explained(str(folder)) as watched:
        built = watched(rig.runner(folder, **settings))
        (folder / 'begun').touch()
        built.train()


def start(folder: Path, ranks: int, options: dict[str, Any], die: Any = None) -> list[Any]:
    """Starts the processes of a training."""
    folder.mkdir(exist_ok=True)
    (folder / 'begun').unlink(missing_ok=True)
    env: dict[str, Any] = {}
    if ranks > 1:
        env = dict(WORLD_SIZE=ranks, MASTER_ADDR='127.0.0.1', MASTER_PORT=rig.free_port())
    here = Path(__file__).parent
    paths = dict(PYTHONPATH=f'{here.parent}{os.pathsep}{here}', OMP_NUM_THREADS='1')
    found = []
    for rank in range(ranks):
        own = dict(env, RANK=rank, LOCAL_RANK=rank) if env else {}
        process = rig._SERVER.Process(target=main, args=(folder, options, own, die))
        with mock.patch.dict(os.environ, paths):
            process.start()
        found.append(process)
        die = None  # of the first rank alone
    return found


def end(processes: list[Any]) -> None:
    """Kills what is left of a training, workers of loaders too."""
    for process in processes:
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(process.pid, signal.SIGKILL)
        process.join()


def wait(processes: list[Any], folder: Path, code: int = 0) -> str:
    """Waits until a training has ended with a status; what it printed."""
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    end(processes)
    logs = ''.join(path.read_text()[-5000:] for path in sorted(folder.glob('log?.txt')))
    assert set(codes) == {code}, (codes, logs)
    return logs


def kill_at_random(
    folder: Path, ranks: int, options: dict, dice: random.Random, checkpoint: str
) -> bool:
    """Kills one process of a training while a checkpoint is written or soon after.

    The others follow, as a job's do. Where the checkpoint was there before, the training is killed
    while it starts. False if it had ended.
    """
    awaited = folder / checkpoint
    if awaited.exists():
        awaited = folder / 'begun'
    processes = start(folder, ranks, options)
    limit = time.monotonic() + 120
    while not awaited.exists() and time.monotonic() < limit and processes[0].exitcode is None:
        time.sleep(0.001)
    time.sleep(dice.uniform(0, 0.05))
    victim = dice.choice(processes)
    if victim.exitcode is None:
        os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    time.sleep(dice.choice([0, 0.02]))
    end(processes)
    return victim.exitcode == -signal.SIGKILL


def differences(a: Any, b: Any, where: str = '') -> list[str]:
    """Where two structures of tensors and plain values are not equal bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f'{where}: {set(a) ^ set(b)}']
        return [d for k in a for d in differences(a[k], b[k], f'{where}.{k}')]
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        return [d for i, x in enumerate(a) for d in differences(x, b[i], f'{where}.{i}')]
    return [] if a == b or (a != a and b != b) else [f'{where}: {a} != {b}']


def content(path: Path) -> dict[str, Any]:
    """A checkpoint without what two runs never share: times, and names of folders."""
    found = torch.load(path, weights_only=False, map_location='cpu')
    hub = found.pop('message_hub')
    scalars = {
        name: list(buffer.data[0])
        for name, buffer in hub['log_scalars'].items()
        if name in ('train/loss', 'train/lr') or '/rgn/' in name
    }
    meta = found.pop('meta')
    return dict(found, scalars=scalars, epoch=meta['epoch'], iter=meta['iter'])


def records(folder: Path) -> dict[str, list[Any]]:
    """The lines of all records that the last checkpoint knows of."""
    path, _ = last_checkpoint(str(folder))
    known = torch.load(path, weights_only=False)['message_hub']['runtime_info']
    found = {}
    for name, place in known.items():
        if name.startswith('mmbackbone/') and name.endswith('.jsonl'):
            lines = read_lines(folder / place)
            found[name] = [
                {k: v for k, v in line.items() if not any(part in k for part in TIMES)}
                for line in lines
            ]
    return found
