"""What a run does, and says, that ends for a reason outside of it."""

import contextlib
import ctypes
import os
import re
import shlex
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..utils.files import atomic_write
from .resume import POINTER, last_checkpoint, rank

# Another process is gone: the trace of where this one noticed tells nothing.
LOST = re.compile(r'(closed|reset) by peer|remote process exited', re.IGNORECASE)
# What schedulers send before a job is preempted or out of time, where the platform has it.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGHUP')
    if hasattr(signal, name)
)
PATIENCE = 25.0  # seconds that an iteration may still take; Slurm kills 30 after it has asked
GRACE = 5.0  # seconds in which torchrun notices, and names, the process that died first

ctypes.pythonapi.PyOS_getsig.restype = ctypes.c_void_p
_BACKEND_ERROR = getattr(torch.distributed, 'DistBackendError', ())  # a RuntimeError
_said = threading.Event()
_armed = threading.Event()


@contextlib.contextmanager
def explained(
    work_dir: str, note: Callable[[int], None] = lambda number: None
) -> Iterator[Callable[[Runner], Runner]]:
    """Ends a run that is asked to end with a checkpoint, and says how to go on.

    That is at a signal of a scheduler (or of torchrun, when another process has died), and where
    talking to other processes fails. A training finishes its iteration, and writes a checkpoint if
    it can be resumed there; whatever else the process does is ended at once, with the exit status
    128 + number of the signal, of which ``note`` is told. All other errors pass untouched. A signal
    that somebody handles or ignores already, as ``nohup`` does SIGHUP, or begins to handle
    meanwhile, is left to them. In another thread than the main one nothing is done.

    Yields:
        What the runner goes through as soon as it is built.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda runner: runner
        return
    _armed.set()
    request = _Request(work_dir, note)
    free = [number for number in SIGNALS if _is_free(number)]
    for number in free:
        signal.signal(number, _noted)
    reader, writer = socket.socketpair()  # Windows wakes by nothing else
    writer.setblocking(False)
    fd_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # A thread, for the main one may sit in a collective that never returns.
    threading.Thread(target=_wait_for_end, args=(reader, request), daemon=True).start()
    try:
        yield request.watch
    except RuntimeError as error:
        lost = LOST.search(str(error))
        if get_world_size() == 1 or not (lost or isinstance(error, _BACKEND_ERROR)):
            raise
        if request.number:  # the first process has written a checkpoint, and is gone
            sys.exit(128 + request.number)
        if not lost:
            traceback.print_exc()  # of NCCL, say: the reason may be here
        reason = str(error).strip().splitlines()[0]
        _say(f'lost touch with another process of this job ({reason})', work_dir)
        if 'TORCHELASTIC_RUN_ID' in os.environ:
            time.sleep(GRACE)  # as a rule ended by SIGTERM
        sys.exit(1)
    finally:
        _armed.clear()
        signal.set_wakeup_fd(fd_before)
        # What follows the first, as srun sends when a task has ended, must not change the status.
        after = signal.SIG_IGN if request.number else signal.SIG_DFL
        for number in filter(_is_ours, free):
            signal.signal(number, after)
        writer.shutdown(socket.SHUT_RDWR)  # forked children hold it open too
        writer.close()


class _Request(Hook):
    """That a run is asked to end, and what its training does then."""

    priority = 'LOWEST'  # after CheckpointHook

    def __init__(self, work_dir: str, note: Callable[[int], None]) -> None:
        self.work_dir, self.note = work_dir, note
        self.number: Optional[int] = None
        self.trains = False
        self.answered = threading.Event()

    def watch(self, runner: Runner) -> Runner:
        runner.register_hook(self)
        return runner

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self.trains = True

    def after_train(self, runner) -> None:
        self.trains = False

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        # Gradients of an open window of accumulation are in no checkpoint.
        closed = getattr(runner.optim_wrapper, 'should_update', lambda: True)()
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        exact = any(type(hook).__name__ == 'RandomStateHook' for hook in runner.hooks)
        if not self._is_asked() or not closed:
            return
        if exact or not by_epoch:
            self._leave(self._save(runner))
        elif batch_idx + 1 < len(runner.train_dataloader):  # else the epoch has its own checkpoint
            self._leave(_NOT_HERE)

    def after_train_epoch(self, runner) -> None:
        if self._is_asked():
            self._leave()

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._is_asked() and self.trains:
            self._leave()

    def _is_asked(self) -> bool:
        """Other processes go on, for the first waits for them, until it is gone."""
        return self.number is not None and rank() == 0

    def _save(self, runner) -> str:
        self.answered.set()
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        name = f'iter_{runner.iter + 1}.pth'
        path = os.path.join(hooks[0].out_dir if hooks else self.work_dir, name)
        pointer = Path(self.work_dir, POINTER)
        if pointer.is_file() and pointer.read_text(encoding='utf-8') == path:
            return ''
        try:
            runner.save_checkpoint(os.path.dirname(path), name, by_epoch=False)
            with atomic_write(pointer) as file:
                file.write(path)
        except OSError as error:  # a full disk: what was there stays the last one
            Path(path).unlink(missing_ok=True)
            return f'  no checkpoint could be written here ({error.strerror})'
        return ''

    def _leave(self, why: str = '') -> None:
        self.answered.set()
        number = signal.Signals(self.number or 0)
        _say(f'was asked to end ({number.name})', self.work_dir, why)
        self.note(number)
        sys.exit(128 + number)


_NOT_HERE = (
    '  the middle of an epoch cannot be resumed without RandomStateHook: the epoch is begun again'
)


def _noted(*_) -> None:
    """Keeps a signal from ending the process: the thread that waits for it does, with a word."""


def _is_free(number: int) -> bool:
    """Whether nobody handles a signal, in Python or, as ``faulthandler`` does, below it."""
    default = signal.getsignal(number) is signal.SIG_DFL
    return default and not ctypes.pythonapi.PyOS_getsig(number)


def _is_ours(number: int) -> bool:
    return signal.getsignal(number) is _noted


def _leave_to_parent() -> None:
    """In a forked child, as loaders and pools of evaluations have.

    SIGTERM is for the child alone. The others reach all processes of a job at once, and the parent
    needs its children until it has answered.
    """
    if _armed.is_set():
        signal.set_wakeup_fd(-1)
        for number in filter(_is_ours, SIGNALS):
            term = number == signal.SIGTERM
            signal.signal(number, signal.SIG_DFL if term else signal.SIG_IGN)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _wait_for_end(reader: socket.socket, request: _Request) -> None:
    with reader:
        while received := reader.recv(1):
            if received[0] in SIGNALS and _is_ours(received[0]):
                request.number = request.number or received[0]
                if not request.trains or not request.answered.wait(PATIENCE):
                    _end(signal.Signals(received[0]), request)


def _end(number: signal.Signals, request: _Request) -> None:
    _say(f'was asked to end ({number.name})', request.work_dir)
    request.note(number)
    os._exit(128 + number)


def _say(what: str, work_dir: str, why: str = '') -> None:
    """One message, of rank 0 or, should that be the one that died, of rank 1."""
    if _said.is_set() or rank() > 1:
        return
    _said.set()
    lines = [f'\nerror: rank {rank()} {what}', *([why] if why else []), how_to_go_on(work_dir)]
    print('\n'.join(lines), file=sys.stderr, flush=True)


def how_to_go_on(work_dir: str) -> str:
    """What is left of a run that has ended, and the command that goes on with it."""
    try:
        path, wrong = last_checkpoint(work_dir, whole=False)
    except (OSError, ValueError) as error:
        return f'  {error}'
    lines = [f'  {text}' for text in wrong]
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        lines.append('  which process died first: see "Root Cause" at the end of the output')
    if path is None:
        return '\n'.join([*lines, f'  no checkpoint yet in {work_dir}: start again'])
    lines += [f'  last checkpoint: {path}', f'  to go on: {_command()}']
    return '\n'.join(lines)


def _command() -> str:
    arguments = [a for a in sys.argv if not a.startswith(('--local', '--resume='))]
    if '--resume' in arguments:  # from the last checkpoint now, not from one that was given
        at = arguments.index('--resume')
        given = at + 1 < len(arguments) and not arguments[at + 1].startswith('--')
        del arguments[at : at + 1 + given]
    arguments.append('--resume')
    start: list[str] = ['python']
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        start = ['torchrun', '--nproc_per_node', os.environ.get('LOCAL_WORLD_SIZE', '1')]
        if os.environ.get('GROUP_WORLD_SIZE', '1') != '1':
            start += ['--nnodes', os.environ['GROUP_WORLD_SIZE'], '...']
    elif 'SLURM_PROCID' in os.environ:
        start = ['srun', '...', 'python', '-u']
    return shlex.join([*start, *arguments]).replace("'...'", '...')
