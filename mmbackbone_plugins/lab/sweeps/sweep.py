"""One detector on many test sets, in parallel and over several starts.

Each test set is a cell: a file of scores, written in one step when it is done. A cell whose file is
there is not computed again; a file of another detector, test set or metric is never touched.
"""

import hashlib
import importlib.metadata
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional, Union

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.utils import import_modules_from_strings

from ...utils import checkpoints
from ...utils.files import hash_of, write_json
from ...utils.text import duration_text
from .. import launch
from ..processes import cores
from .evaluate import EvaluatorConfig, evaluate, identity, json_numbers


@dataclass(frozen=True)
class Cell:
    """One test set and how it is scored."""

    name: str
    loader: dict[str, Any]
    evaluator: EvaluatorConfig


@dataclass
class Sweep:
    """Scores a detector on cells, in ``jobs`` processes: 0 is one a GPU, or one a core without any.

    The numbers do not depend on it: on a CPU each computes with one thread. By default processes
    get the GPUs in turn. ``folder`` has the files of the cells; ``say`` takes a line of progress.

    Raises:
        ValueError: If ``jobs`` is negative.
        FileNotFoundError: If the checkpoint is missing.
    """

    cfg: Config
    checkpoint: str
    folder: Path
    jobs: int = 0
    device: Optional[str] = None
    say: Callable[[str], None] = partial(print, flush=True)

    def __post_init__(self) -> None:
        if self.jobs < 0:
            raise ValueError(f'jobs must be 0 or more, got {self.jobs}')
        if not Path(self.checkpoint).exists():
            raise FileNotFoundError(f'checkpoint {self.checkpoint!r} does not exist')
        checkpoints.check(self.checkpoint)
        self.weights = file_hash(self.checkpoint)

    def known(self, cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
        """Scores of the cells that are done.

        Raises:
            ValueError: If a file is of another detector, test set or metric, or is no such file.
        """
        found = {}
        for cell in cells:
            path = self._path(cell)
            if not path.exists():
                continue
            try:
                kept = json.loads(path.read_text(encoding='utf-8'))
                made, scores = kept['made_by'], kept['scores']
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path} is no file of scores ({error}): move it away') from None
            now = self._made_by(cell)
            differs = [key for key in now if made.get(key) != now[key]]
            if differs:
                raise ValueError(
                    f'{path} was made with another {" and ".join(differs)} (it is kept as it is): '
                    'give another --out'
                )
            found[cell.name] = {k: float('nan') if v is None else v for k, v in scores.items()}
        return found

    def run(self, cells: Sequence[Cell]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
        """Computes what is missing: scores by cell, and the errors of cells that failed.

        Raises:
            ValueError: See :meth:`known`; nothing has been computed then.
        """
        scores = self.known(cells)
        todo = [cell for cell in cells if cell.name not in scores]
        if scores:
            self.say(f'{len(scores)} of {len(cells)} are there already')
        failed: dict[str, str] = {}
        if not todo:
            return scores, failed
        (self.folder / 'cells').mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        for done, (cell, found, error) in enumerate(self._compute(todo), 1):
            left = (time.monotonic() - start) / done * (len(todo) - done)
            where = f'[{len(scores) + len(failed) + 1}/{len(cells)}] {cell.name}'
            if error:
                failed[cell.name] = error
                self.say(f'{where}: FAILED: {error}; {duration_text(left)} left')
                continue
            scores[cell.name] = found
            self._keep(cell, found)
            self.say(f'{where}: {_summary(found)}; {duration_text(left)} left')
        for name, error in failed.items():
            print(f'FAILED {name}: {error}', file=sys.stderr)
        return {cell.name: scores[cell.name] for cell in cells if cell.name in scores}, failed

    def write(self, name: str, tool: str, argv: Sequence[str], **content: Any) -> None:
        """Writes what came out, with the checkpoint and the command that it is of."""
        made = dict(checkpoint=self.checkpoint, checkpoint_sha256=self.weights)
        made['command'] = ['python', f'tools/analysis_tools/{tool}', *argv]
        write_json(self.folder / name, {**made, **content})
        print(f'\nwrote {self.folder / name}')

    def _compute(self, todo: Sequence[Cell]) -> Iterable[tuple[Cell, dict[str, float], str]]:
        gpus = torch.cuda.device_count()
        devices = [self.device] if self.device else [f'cuda:{i}' for i in range(gpus)] or ['cpu']
        usual = len(devices) if devices != ['cpu'] else cores()
        jobs = min(self.jobs or usual, len(todo))
        self.say(f'{len(todo)} test sets to go, {jobs} at a time on {", ".join(devices)}')
        if jobs == 1:
            threads = torch.get_num_threads()
            try:
                _start(self.cfg.to_dict(), self.checkpoint, devices, None)
                for cell in todo:
                    yield (cell, *_score(cell))
            finally:
                torch.set_num_threads(threads)
                _STATE.clear()
            return
        context = multiprocessing.get_context('spawn')  # a forked process cannot use a GPU
        places = context.Queue()
        for i in range(jobs):
            places.put(devices[i % len(devices)])
        pool = ProcessPoolExecutor(
            jobs, context, _start, (self.cfg.to_dict(), self.checkpoint, devices, places)
        )
        try:
            futures = {pool.submit(_score, cell): cell for cell in todo}
            for future in as_completed(futures):
                try:
                    found, error = future.result()
                except Exception as broken:  # a process that died, out of memory as a rule
                    found, error = {}, f'{type(broken).__name__}: {broken}'
                yield futures[future], found, error
        finally:
            pool.shutdown(cancel_futures=True)

    def _path(self, cell: Cell) -> Path:
        return self.folder / 'cells' / f'{cell.name}.json'

    def _made_by(self, cell: Cell) -> dict[str, str]:
        return dict(
            checkpoint=self.weights,
            model=hash_of(self.cfg.model.to_dict()),
            data=hash_of(identity(cell.loader)),
            metric=hash_of(cell.evaluator),
            imagecorruptions=_version('imagecorruptions-imaug'),
        )

    def _keep(self, cell: Cell, scores: dict[str, float]) -> None:
        content = dict(name=cell.name, made_by=self._made_by(cell), scores=json_numbers(scores))
        write_json(self._path(cell), content)


def file_hash(path: Union[str, Path]) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


# Of a process that computes: its detector and the scope of its registries.
_STATE: dict[str, Any] = {}


def _start(settings: dict[str, Any], checkpoint: str, devices: Sequence[str], places: Any) -> None:
    """Builds the detector, once a process."""
    # Tables and remarks of every single cell would hide the progress.
    MMLogger.get_instance('mmbackbone_sweep', log_level='WARNING')
    launch.register_modules()
    cfg = Config(settings)
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    device = places.get() if places is not None else devices[0]
    if device == 'cpu':
        torch.set_num_threads(1)  # sums are the same however many processes there are
    model, _ = launch.build_detector(cfg, checkpoint, device=device)
    _STATE.update(model=model, scope=cfg.get('default_scope', 'mmdet'))


def _score(cell: Cell) -> tuple[dict[str, float], str]:
    try:
        return evaluate(_STATE['model'], _STATE['scope'], cell.loader, cell.evaluator), ''
    except Exception as error:  # the other cells go on
        return {}, f'{type(error).__name__}: {error}'


def _summary(scores: dict[str, float]) -> str:
    short = [(k, v) for k, v in scores.items() if k.count('/') < 2 and ('mAP' in k or 'AP50' in k)]
    return ', '.join(f'{name} {value:.3f}' for name, value in short[:2])


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ''
