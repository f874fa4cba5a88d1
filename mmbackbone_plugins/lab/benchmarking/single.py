"""One run of a benchmark, in a process of its own: train, test, collect.

``python -m mmbackbone_plugins.lab.benchmarking.single FOLDER`` goes on where an earlier process was
stopped. Under ``torchrun`` with ``--launcher pytorch`` it is one run of several processes.
"""

import argparse
import json
import os
import signal
import sys
import time
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Callable

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop, find_latest_checkpoint
from torch import nn

from ...utils.files import atomic_write
from ...utils.names import type_name
from .. import console, failures, interruption, launch, resume, weights
from ..datasets import labels_explained
from ..visualization.logs import read_run
from .after import between
from .collect import collect_cost, collect_drift, collect_rgn, machine, scores
from .detections import look_at_images
from .folder import CONFIG, PROGRESS, TRAIN, RunFolder, write_progress
from .plan import Domain
from .results import Result

METRIC = dict(type='OrientedMetric')
LOOKS = 3  # images per test set whose detections are kept for the report


class _ProgressFile(Hook):
    """Tells the process that started this one how far the training is, and ends with it."""

    priority = 'VERY_LOW'

    def __init__(self, path: Path) -> None:
        self._path, self._last, self._parent = path, 0.0, os.getppid()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if os.getppid() != self._parent:  # killed: nobody would hear of this run any more
            raise SystemExit('the process that started this run is gone; it can be resumed')
        done = (runner.iter + 1) / runner.max_iters
        if is_main_process() and (done >= 1 or time.monotonic() - self._last > 2):
            self._last = time.monotonic()
            write_progress(self._path.parent, done)


def execute(
    folder: RunFolder,
    launcher: str = 'none',
    told: Callable[[Runner], Runner] = lambda r: r,
    channels_last: bool = False,
) -> Result:
    """Trains, tests on every test set, and writes ``result.json``."""
    launch.register_modules()
    cfg = Config.fromfile(folder.path / CONFIG)
    cfg.launcher = launcher
    launch.start_processes(cfg)
    done = partial(write_progress, folder.path)
    own = folder.config()
    run = folder.run
    if run.after:
        # An average of the untrained weights would be swapped in for each test.
        hooks = cfg.get('custom_hooks', None) or []
        cfg.custom_hooks = [hook for hook in hooks if type_name(hook) != 'EMAHook']
        runner = told(_build(cfg, channels_last))
        runner.call_hook('before_run')
        best, chosen = between(runner, folder, partial(_score, runner, folder, own), done)
        options = {**run.options, 'after.interpolate.weight': best}
    else:
        resume.choose_checkpoint(cfg, 'auto')
        runner = told(_build(cfg, channels_last))
        weights.check_start(runner.model, cfg)
        runner.register_hook(_ProgressFile(folder.path / PROGRESS))
        runner.train()
        options = dict(run.options)
    found: dict[str, dict[str, Any]] = {}
    looks: list[dict[str, Any]] = []
    for domain in run.tests:
        loop = test_loop(runner, folder.test_config(domain, own), domain)
        found[domain.name] = scores(loop.run(), len(loop.dataloader.dataset))
        looks += look_at_images(runner.model, loop.dataloader.dataset, domain.name, LOOKS)
    train = folder.training.path / TRAIN
    log = read_run(train)
    latest = find_latest_checkpoint(str(train))
    result = folder.make_result(
        'finished',
        options=options,
        checkpoint=chosen.name if run.after else latest and f'{TRAIN}/{Path(latest).name}',
        scores=found,
        cost=collect_cost(train),
        rgn=collect_rgn(log),
        drift=None if run.after else collect_drift(log),
        machine=machine(channels_last),
    )
    if is_main_process():
        classes = list(loop.dataloader.dataset.metainfo.get('classes', ()))
        with atomic_write(folder.path / 'detections.json') as file:
            json.dump(dict(classes=classes, images=looks), file)
        result.save(folder.path)
    return result


def _build(cfg: Config, channels_last: bool) -> Runner:
    runner = launch.build_runner(cfg)
    if channels_last:
        for name, m in runner.model.named_modules():
            strided = isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) != m.stride
            # oneDNN writes past its workspace there (its issue 6035): wrong gradients, or a crash.
            if strided and m.in_channels < 16 and m.weight.is_cpu:
                raise ValueError(
                    f'--channels-last is not for a CPU where a 1 x 1 convolution has a stride '
                    f'and less than 16 channels; {name} has {m.in_channels}'
                )
        runner.model.to(memory_format=torch.channels_last)
    return runner


def _score(runner: Runner, folder: RunFolder, own: Config, domain: Domain) -> float:
    loop = test_loop(runner, folder.test_config(domain, own), domain)
    return float(scores(loop.run(), len(loop.dataloader.dataset))['mAP'])


def test_loop(runner: Runner, cfg: Config, domain: Domain) -> TestLoop:
    """The loop over one test set, on the model as it is now; ``cfg`` has its data loader."""
    loader = cfg[f'{domain.split}_dataloader']
    own = domain.metric == 'config'
    metric = cfg[f'{domain.split}_evaluator'] if own else dict(domain.metric or METRIC)
    runner._test_loop = TestLoop(runner, loader, metric)  # hooks look it up there
    return runner._test_loop


def main(argv=None) -> int:
    """Runs the run of a folder."""
    parser = argparse.ArgumentParser(description='One run of a benchmark')
    parser.add_argument('folder', type=Path)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--channels-last', action='store_true')
    args = parser.parse_args(argv)
    console.adapt()
    folder = RunFolder.read(args.folder)
    first = resume.rank() == 0
    with folder.alone() if first else nullcontext():
        if first and folder.state == 'failed':
            folder.reopen()
        # Wherever it was started, by a queue or as a job of a cluster: a report has to know.
        ends = interruption.explained(str(folder.path / TRAIN), partial(_stopped, folder))
        with failures.told(partial(_record, folder)) as told, ends as watched, labels_explained():
            execute(folder, args.launcher, lambda r: watched(told(r)), args.channels_last)
    return 0


def _record(folder: RunFolder, error: str) -> None:
    """Keeps the first reason: one process that fails takes the others with it."""
    if folder.state != 'failed':
        with suppress(OSError):  # a full disk is the reason, and who started this finds it
            folder.fail(error)


def _stopped(folder: RunFolder, number: int) -> None:
    """Slurm asks before it kills."""
    if 'SLURM_JOB_ID' in os.environ:
        _record(
            folder,
            f'stopped ({signal.Signals(number).name}) at {folder.progress:.0%} of its training: '
            f'the time limit of job {os.environ["SLURM_JOB_ID"]}, preempted or cancelled; started '
            'again, it goes on from its last checkpoint',
        )


# The guard matters: process pools of metrics spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
