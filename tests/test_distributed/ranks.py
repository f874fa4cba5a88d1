"""What a process of a distributed run saw and did, written down for the test that started it.

Configs of the tests import this file; it changes nothing in a run but where it is told to die.
"""

import hashlib
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any, Optional

import torch
from mmdet.models.losses import FocalLoss
from mmdet.utils import reduce_mean
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS, MODELS
from rig import CountMetric

from mmbackbone_plugins.utils.wrappers import unwrap

WRITTEN: list[str] = []  # every file that this process has opened to write, made or renamed


def _watch(event: str, arguments: tuple) -> None:
    if event == 'open' and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        if (mode and set(mode) & set('wax+')) or flags & (os.O_WRONLY | os.O_RDWR):
            WRITTEN.append(os.path.abspath(arguments[0]))
    elif event == 'os.rename':
        WRITTEN.append(os.path.abspath(os.fspath(arguments[1])))


sys.addaudithook(_watch)
_save = torch.save


def _watched_save(content: Any, file: Any, *args: Any, **options: Any) -> None:
    """torch opens a file given by its path in C++, unseen by audit hooks."""
    if isinstance(file, (str, os.PathLike)):
        WRITTEN.append(os.path.abspath(os.fspath(file)))
    return _save(content, file, *args, **options)


torch.save = _watched_save


def digest(tensors: Any) -> str:
    """A hash of all tensors in nested dicts and lists."""
    found = hashlib.sha256()

    def walk(node: Any, path: str) -> None:
        if isinstance(node, torch.Tensor):
            found.update(path.encode() + node.detach().contiguous().numpy().tobytes())
        elif isinstance(node, dict):
            for key in sorted(node, key=str):
                walk(node[key], f'{path}.{key}')
        elif isinstance(node, (list, tuple)):
            for i, item in enumerate(node):
                walk(item, f'{path}.{i}')

    walk(tensors, '')
    return found.hexdigest()[:16]


@HOOKS.register_module(force=True)
class RankReport(Hook):
    """Writes ``<out>/<rank>.json`` at the end of training."""

    priority = 'LOWEST'

    def __init__(self, out: str) -> None:
        self.out = Path(out)
        self.trains: dict[int, list[str]] = {}
        self.first_written = len(WRITTEN)

    def before_train(self, runner) -> None:
        self.start = runner.iter

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0:
            names = [n for n, p in unwrap(runner.model).named_parameters() if p.requires_grad]
            parts = {'.'.join(n.split('.')[: 2 if n.startswith('backbone.') else 1]) for n in names}
            self.trains[runner.epoch] = sorted(parts)

    def after_train(self, runner) -> None:
        anchors, importance = {}, {}
        for hook in runner.hooks:
            if getattr(hook, 'anchor', None) is not None:
                anchors[type(hook).__name__] = hook.anchor.fingerprint()
            if getattr(hook, '_estimated', None) is not None:
                importance[hook.importance] = digest(hook._estimated.tensors)
        root = os.path.abspath(runner.work_dir) + os.sep
        written = [p[len(root) :] for p in WRITTEN[self.first_written :] if p.startswith(root)]
        report = dict(
            weights=digest(unwrap(runner.model).state_dict()),
            optimizer=digest(runner.optim_wrapper.optimizer.state_dict()['state']),
            anchors=anchors,
            importance=importance,
            trains=self.trains,
            start=self.start,
            end=runner.iter,
            written=written,
            wrapper=type(runner.model).__name__,
        )
        self.out.mkdir(parents=True, exist_ok=True)
        rank = os.environ.get('RANK', '0') if torch.distributed.is_initialized() else '0'
        (self.out / f'{rank}.json').write_text(json.dumps(report))


@HOOKS.register_module(force=True)
class Die(Hook):
    """Ends one rank by a signal: before an iteration, or in the middle of a file.

    Args:
        rank: Whom.
        iteration: Before which iteration.
        file: While a file whose name begins so is written for the ``time``-th time; a half is left.
        time: See ``file``.
        by: Name of the signal.
    """

    def __init__(
        self,
        rank: int,
        iteration: Optional[int] = None,
        file: str = '',
        time: int = 1,
        by: str = 'SIGKILL',
    ) -> None:
        self.signal = signal.Signals[by]
        self.me = os.environ.get('RANK', '0') == str(rank)
        self.iteration, self.file, self.left = iteration, file, time
        if self.me and file:
            put = LocalBackend.put
            LocalBackend.put = lambda backend, content, path: (
                self._tear(content, path) or put(backend, content, path)
            )

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.me and runner.iter == self.iteration:
            os.kill(os.getpid(), self.signal)

    def _tear(self, content: bytes, path: str) -> None:
        if not Path(path).name.startswith(self.file):
            return
        self.left -= 1
        if not self.left:
            with open(path, 'wb') as file:  # as mmengine does: what was there is gone at once
                file.write(content[: len(content) // 2])
            os.kill(os.getpid(), self.signal)


@METRICS.register_module(force=True)
class RisingMetric(CountMetric):
    """Better in every validation, so that the checkpoint of every epoch is written twice."""

    scores = count(1)

    def compute_metrics(self, results) -> dict[str, float]:
        return dict(count=float(next(self.scores)))


@MODELS.register_module(force=True)
class AveragedLoss(FocalLoss):
    """Averages over ranks, as many losses do."""

    def forward(self, *args: Any, **options: Any) -> torch.Tensor:
        return super().forward(*args, **options) * reduce_mean(torch.ones(()))
