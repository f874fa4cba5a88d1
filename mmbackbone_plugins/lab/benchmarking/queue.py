"""Runs as processes of this machine: some at once, failures apart, with the time that is left.

submitit's executor for one machine does not take its place: that starts all jobs at once, however
few cores and GPUs there are, and keeps a supervising process alive beside each.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from ...utils.text import duration_text
from .folder import LOG, RunFolder

NO_SPACE = 'No space left on device'
LAST_LINES = 12


@dataclass
class Local:
    """How runs are started here."""

    jobs: int = 1
    gpus: int = 0  # GPUs on this machine; each run gets its own, in turn. 0: the CPU
    ranks: int = 1  # processes of one run (data parallel); more than one are started by torchrun
    threads: int = 1  # threads of each process on the CPU
    channels_last: bool = False  # memory format of the model's weights and features

    def command(self, folder: Path) -> list[str]:
        """The command line of one run."""
        module = ['-m', 'mmbackbone_plugins.lab.benchmarking.single', str(folder)]
        module += ['--channels-last'] if self.channels_last else []
        if self.ranks == 1:
            return [sys.executable, *module]
        start = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={self.ranks}']
        return [sys.executable, *start, *module, '--launcher', 'pytorch']

    def environment(self, slot: int) -> dict[str, str]:
        """Environment of the run in one of the ``jobs`` places."""
        own = {'OMP_NUM_THREADS': str(self.threads)}
        if self.gpus:
            first = slot * self.ranks
            own['CUDA_VISIBLE_DEVICES'] = ','.join(
                str(i % self.gpus) for i in range(first, first + self.ranks)
            )
        return {**os.environ, **own}


@dataclass
class _Process:
    folder: RunFolder
    slot: int
    process: subprocess.Popen
    start: float
    already: float  # share that an earlier process had done
    mark: Optional[tuple[float, float]] = None  # time and share at the first step that was seen

    def whole(self) -> Optional[float]:
        """Seconds that all of the training takes, by what it has done since its first step."""
        share = self.folder.progress
        if self.mark is None and share > self.already:
            self.mark = time.monotonic(), share
        if self.mark is None or share - self.mark[1] < 0.03:
            return None
        return (time.monotonic() - self.mark[0]) / (share - self.mark[1])


@dataclass
class Queue:
    """Works through runs."""

    folders: Sequence[RunFolder]
    local: Local = field(default_factory=Local)
    say: Callable[[str], None] = print
    every: float = 15.0

    def __post_init__(self) -> None:
        self._running: list[_Process] = []
        self._rates: list[float] = []  # seconds that a whole run takes
        self.failed: list[str] = []
        self.elsewhere: list[str] = []  # other processes are at these runs
        self.full_disk: Optional[str] = None

    def run(self) -> int:
        """Does what is not finished; failed runs are tried again, once. Returns how many are left.

        Those are runs that failed, were not begun, or are with another process.
        """
        waiting = [f for f in self.folders if f.state != 'finished']
        done = len(self.folders) - len(waiting)
        if done:
            self.say(f'{done} of {len(self.folders)} runs are finished already')
        last = 0.0
        try:
            while (waiting and not self.full_disk) or self._running:
                while waiting and not self.full_disk and len(self._running) < self.local.jobs:
                    ready = next((f for f in waiting if f.ready), None)
                    if ready is None and self._running:
                        break  # what is left uses a training that is not finished
                    waiting.remove(ready := ready or waiting[0])
                    self._start(ready)
                if time.monotonic() - last > self.every:
                    last = time.monotonic()
                    self.say(self._status(waiting))
                time.sleep(0.2)
                self._reap()
        except BaseException:
            self._stop()
            raise
        if self.full_disk:
            self.say(
                f'stopped, the disk is full: {self.full_disk}. {len(waiting)} runs were not begun; '
                'finished results are kept. Make room and give the same command again'
            )
        return len(self.failed) + len(waiting) + len(self.elsewhere)

    def _start(self, folder: RunFolder) -> None:
        # Several machines may work through one plan in a shared folder.
        if folder.state == 'finished':
            return
        if folder.busy:
            self.elsewhere.append(folder.run.name)
            self.say(f'left to another process: {folder.run.name}')
            return
        folder.make_ready()
        folder.reopen()
        slot = min(set(range(self.local.jobs)) - {p.slot for p in self._running})
        with (folder.path / LOG).open('ab') as log:
            process = subprocess.Popen(
                self.local.command(folder.path),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.local.environment(slot),
                start_new_session=True,  # so that its pools end with it
            )
        already = folder.progress
        how = 'resumed' if already else 'started'
        self.say(f'{how}: {folder.run.name}')
        self._running.append(_Process(folder, slot, process, time.monotonic(), already))

    def _reap(self) -> None:
        for item in list(self._running):
            if item.process.poll() is None:
                continue
            self._running.remove(item)
            name, seconds = item.folder.run.name, time.monotonic() - item.start
            if item.process.returncode == 0 and item.folder.state == 'finished':
                self._rates.append(seconds / max(1 - item.already, 0.05))
                inside = item.folder.result()
                score = [f'{d} {inside.scores[d]["mAP"]:.3f}' for d in inside.in_domain]
                self.say(f'finished: {name}, {duration_text(seconds)}; mAP {", ".join(score)}')
            else:
                self._fail(item, seconds)

    def _fail(self, item: _Process, seconds: float) -> None:
        folder, code = item.folder, item.process.returncode
        lines = last_lines(folder.path / LOG)
        how = how_it_ended(code)
        self.failed.append(folder.run.name)
        why = next((line for line in reversed(lines) if line.strip()), '')
        self.say(
            f'FAILED: {folder.run.name}, {how} after {duration_text(seconds)}: {why}\n'
            f'  its log: {folder.path / LOG}'
        )
        if any(NO_SPACE in line for line in lines):
            self.full_disk = folder.run.name
        try:
            if folder.state != 'failed':  # killed: it could not write that down itself
                folder.fail('\n'.join([how, *lines]))
        except OSError as error:  # a full disk: the run counts as begun, and is resumed
            self.full_disk = str(error)

    def _status(self, waiting: Sequence[RunFolder]) -> str:
        finished = sum(folder.state == 'finished' for folder in self.folders)
        running = [f'{p.folder.run.name} {p.folder.progress:.0%}' for p in self._running]
        text = f'[{finished}/{len(self.folders)} finished'
        text += f', {len(self.failed)} failed]' if self.failed else ']'
        text += f' {", ".join(running)}'
        left = self._left(waiting)
        return text + (f'; about {duration_text(left)} left' if left is not None else '')

    def _left(self, waiting: Sequence[RunFolder]) -> Optional[float]:
        rates = [*self._rates, *filter(None, [item.whole() for item in self._running])]
        if not rates:
            return None
        whole = sum(rates) / len(rates)
        parts = [1 - folder.progress for folder in waiting]
        parts += [1 - item.folder.progress for item in self._running]
        return whole * sum(parts) / min(self.local.jobs, len(parts))

    def _stop(self) -> None:
        """Ends what runs; what it has saved is there for the next start."""
        for item in self._running:
            _end(item.process)
        for item in self._running:
            try:
                item.process.wait(10)
            except subprocess.TimeoutExpired:
                _end(item.process, at_once=True)
        if self._running:
            names = ', '.join(item.folder.run.name for item in self._running)
            self.say(f'stopped {names}; the same command goes on from their last checkpoints')


def how_it_ended(code: int) -> str:
    """A return code of ``subprocess`` in words."""
    return f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit status {code}'


def last_lines(path: Path, count: int = LAST_LINES) -> list[str]:
    """The last lines of a log, read from its end."""
    try:
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - 20000))
            return file.read().decode('utf-8', 'replace').splitlines()[-count:]
    except OSError:
        return []


def _end(process: subprocess.Popen, at_once: bool = False) -> None:
    if not hasattr(os, 'killpg'):  # Windows has no groups of processes
        process.kill() if at_once else process.terminate()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if at_once else signal.SIGTERM)
    except ProcessLookupError:
        pass
