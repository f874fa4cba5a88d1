"""The folder of one run: its complete config, and how far the run has come."""

import difflib
import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from mmengine.config import Config

from ...hooks.checks import check_hooks
from ...utils import checkpoints
from ...utils.files import atomic_write, write_json
from ...utils.names import type_name
from .. import launch, weights
from .plan import Domain, Plan, Run
from .results import FILE as RESULT
from .results import Result, read_result

VERSION = 1
SPEC, CONFIG, TRAIN, PROGRESS, LOG = 'run.json', 'config.py', 'train', 'progress.json', 'log.txt'
RUNS, REPEATS = 'runs', 'repeats'
HOOKS = {
    'cost': 'TrainingCostHook',
    'rgn': 'RGNHook',
    'drift': 'DriftHook',
    'eigenspectrum': 'EigenspectrumHook',
}


@dataclass(frozen=True)
class RunFolder:
    """A run and the folder that holds everything of it."""

    run: Run
    path: Path
    command: str

    @classmethod
    def of(cls, plan: Plan, run: Run, kind: str = RUNS) -> 'RunFolder':
        """The folder of a run of a plan, or of its second training; nothing is made."""
        command = ['python', 'tools/benchmark.py', str(plan.path), '--work-dir', str(plan.work_dir)]
        path = plan.work_dir / kind / run.name
        option = '--only' if kind == RUNS else '--repeat'
        return cls(run, path, shlex.join([*command, option, run.name]))

    @classmethod
    def read(cls, path: Path) -> 'RunFolder':
        """Reads a folder that was made ready; ValueError if it is none, or of another version."""
        data = _read_spec(path)
        run = dict(data['run'])
        run['tests'] = tuple(Domain(**test) for test in run['tests'])
        run['in_domain'] = tuple(run['in_domain'])
        run['validation'] = tuple(run.get('validation', ()))
        return cls(Run(**run), Path(path), data['command'])

    @property
    def state(self) -> str:
        """``'new'``, ``'begun'``, ``'failed'`` or ``'finished'``."""
        if (self.path / RESULT).is_file():
            return self.result().state
        return 'begun' if (self.path / TRAIN).is_dir() else 'new'

    @property
    def progress(self) -> float:
        """Share of the training that is done, from 0 to 1."""
        return read_progress(self.path)

    @property
    def training(self) -> 'RunFolder':
        """The run whose training this one uses; itself, if it trains."""
        if not self.run.after:
            return self
        method = self.run.after['training']
        run = replace(self.run, method=method, after={})
        return RunFolder(run, self.path.parent.parent / method / self.path.name, '')

    @property
    def ready(self) -> bool:
        """Whether the training that is used is there."""
        return not self.run.after or self.training.state == 'finished'

    def result(self) -> Result:
        """What the run came to; ValueError if the file is torn, or of another version."""
        return read_result(self.path / RESULT)

    def check(self) -> None:
        """ValueError for hooks that cannot be built, and a folder of another run or version."""
        cfg = self.config()
        check_hooks(cfg)
        if not (self.path / SPEC).is_file():
            return
        _read_spec(self.path)
        old = (self.path / CONFIG).read_text(encoding='utf-8').splitlines()
        new = cfg.pretty_text.splitlines()
        changed = [line for line in difflib.ndiff(old, new) if line[:2] in ('- ', '+ ')]
        if changed:
            raise ValueError(
                f'{self.path} holds a run with another config. First differences, - what was run, '
                '+ what the plan says now:\n  ' + '\n  '.join(changed[:6]) + '\n'
                'Give another --work-dir, or move that folder away to run it anew'
            )

    def make_ready(self) -> None:
        """Writes the config and the description of the run, unless they are there."""
        self.check()
        if (self.path / SPEC).is_file():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path / CONFIG) as file:
            file.write(self.config().pretty_text)
        spec = dict(version=VERSION, command=self.command, run=asdict(self.run))
        write_json(self.path / SPEC, spec)

    def config(self) -> Config:
        """The complete config of the training: the file's, the plan's options, the measures.

        The measures are hooks under names of their own among the default hooks, so that the
        config's list of hooks stays as it is; one that the config has already is not added again.
        """
        run = self.run
        # A copy: mmengine takes `_delete_` out of what it merges.
        cfg = launch.load_config(run.config, deepcopy(dict(run.options)), str(self.path / TRAIN))
        cfg.randomness = {**cfg.get('randomness', {}), 'seed': run.seed}
        hooks = launch.hooks_of(cfg)
        present = {type_name(hook) for hook in hooks}
        if run.keep_probed:
            own = [hook for hook in hooks if type_name(hook) == 'FreezingSchedulerHook']
            if not own:
                raise ValueError(
                    f'{run.config!r} has no FreezingSchedulerHook, so that there are no probed '
                    'weights to interpolate from'
                )
            for hook in own:
                hook['keep_probed'] = True
        for name, given in run.measure.items():
            if HOOKS[name] not in present:
                cfg.merge_from_dict({f'default_hooks.{name}': dict(type=HOOKS[name], **given)})
        return cfg

    def test_config(self, domain: Domain, own: Config) -> Config:
        """The config that has the data loader of a test set; ``own`` is that of the training."""
        cfg = Config.fromfile(domain.config) if domain.config else deepcopy(own)
        if domain.options:
            cfg.merge_from_dict(deepcopy(dict(domain.options)))
        return cfg

    def check_data(self) -> None:
        """Looks for the files of the training set, of every test set, and of the first weights.

        Raises:
            FileNotFoundError: If a path is missing; the message names all of one loader.
            ValueError: If a file of weights cannot be read.
        """
        own = self.config()
        launch.check_data(own, ('train_dataloader',))
        weights.check_init_cfg(own)
        if own.get('load_from'):
            checkpoints.check(own.load_from, f'load_from={own.load_from!r}')
        for domain in self.run.tests:
            launch.check_data(self.test_config(domain, own), (f'{domain.split}_dataloader',))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder, which two processes would spoil; BlockingIOError if one does so."""
        lock = _lock(self.path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            left = f' (if none is, remove {lock.lock_file})' if type(lock) is SoftFileLock else ''
            raise BlockingIOError(f'{self.path}: another process is at this run{left}') from None
        try:
            yield
        finally:
            lock.release()

    @property
    def busy(self) -> bool:
        """Whether a process is at this run."""
        if not self.path.is_dir():
            return False
        try:
            with self.alone():
                return False
        except BlockingIOError:
            return True

    def make_result(self, state: str, **numbers: Any) -> Result:
        """What the run came to, now: what is known of it, and ``numbers``."""
        run = self.run
        same = ('dataset', 'detector', 'method', 'seed', 'config')
        known: dict[str, Any] = {key: getattr(run, key) for key in same}
        known.update(options=dict(run.options), command=self.command, work_dir=str(self.path))
        known.update(in_domain=list(run.in_domain), validation=list(run.validation))
        now = datetime.now().isoformat(timespec='seconds')
        return Result(**{**known, **numbers}, state=state, finished=now)

    def fail(self, error: str) -> None:
        """Writes down why the run failed; of several lines the first is what matters most."""
        self.make_result('failed', error=error).save(self.path)

    def reopen(self) -> None:
        """Puts the result of a failed run aside, so that it can go on."""
        path = self.path / RESULT
        if path.is_file():
            path.replace(path.with_name(f'{path.stem}.failed.json'))


def write_progress(folder: Path, done: float) -> None:
    """Writes the share of a run that is done down."""
    write_json(folder / PROGRESS, dict(done=done))


def read_progress(folder: Path) -> float:
    """Share of a run's training that is done, from 0 to 1."""
    try:
        return float(json.loads((folder / PROGRESS).read_text(encoding='utf-8'))['done'])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _lock(folder: Path) -> BaseFileLock:
    """The kind of lock that a folder's file system has: the system's, which ends with its process.

    Lustre, and NFS without its lock daemon, have none: what is there then is a file that says so.
    A lock that nobody else can hold tells which it is; old versions of filelock take the error
    for somebody else's lock.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder) as own, FileLock(f'{own}/lock', timeout=0):
            pass
    except (OSError, NotImplementedError):
        return SoftFileLock(folder / 'lock.soft')
    return FileLock(folder / 'lock')


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        data = json.loads((Path(path) / SPEC).read_text(encoding='utf-8'))
        version = data['version']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no folder of a benchmark run: {error}') from None
    if version != VERSION:
        raise ValueError(
            f'{path} was made by version {version!r} of this benchmark, this one goes on with '
            f'{VERSION}: give another --work-dir'
        )
    return data
