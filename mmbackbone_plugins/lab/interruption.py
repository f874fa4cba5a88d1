"""Says how to go on where a run ends for a reason outside of it."""

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

import torch
from mmengine.dist import get_world_size

from .resume import last_checkpoint, rank

# Another process is gone: the trace of where this one noticed tells nothing.
LOST = re.compile(r'(closed|reset) by peer|remote process exited', re.IGNORECASE)
# What schedulers send before a job is preempted or out of time, where the platform has it.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGHUP')
    if hasattr(signal, name)
)
GRACE = 5.0  # seconds in which torchrun notices, and names, the process that died first

ctypes.pythonapi.PyOS_getsig.restype = ctypes.c_void_p
_BACKEND_ERROR = getattr(torch.distributed, 'DistBackendError', ())  # a RuntimeError
_said = threading.Event()
_armed = threading.Event()


@contextlib.contextmanager
def explained(work_dir: str) -> Iterator[None]:
    """Says how to go on where a run ends for a reason outside of it.

    That is a signal of a scheduler (or of torchrun, when another process has died), and an error in
    talking to other processes. All other errors pass untouched. A signal that somebody handles or
    ignores already, as ``nohup`` does SIGHUP, or begins to handle meanwhile, is left to them. In
    another thread than the main one nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _armed.set()
    free = [number for number in SIGNALS if _is_free(number)]
    for number in free:
        signal.signal(number, _noted)
    reader, writer = socket.socketpair()  # Windows wakes by nothing else
    writer.setblocking(False)
    fd_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    # A thread, for the main one may sit in a collective that never returns.
    threading.Thread(target=_wait_for_end, args=(reader, work_dir), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        lost = LOST.search(str(error))
        if get_world_size() == 1 or not (lost or isinstance(error, _BACKEND_ERROR)):
            raise
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
        for number in filter(_is_ours, free):
            signal.signal(number, signal.SIG_DFL)
        writer.shutdown(socket.SHUT_RDWR)  # forked children hold it open too
        writer.close()


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


def _wait_for_end(reader: socket.socket, work_dir: str) -> None:
    with reader:
        while received := reader.recv(1):
            if received[0] in SIGNALS and _is_ours(received[0]):
                _end(signal.Signals(received[0]), work_dir)


def _end(number: signal.Signals, work_dir: str) -> None:
    _say(f'was asked to end ({number.name})', work_dir)
    os._exit(128 + number)


def _say(what: str, work_dir: str) -> None:
    """One message, of rank 0 or, should that be the one that died, of rank 1."""
    if _said.is_set() or rank() > 1:
        return
    _said.set()
    print(f'\nerror: rank {rank()} {what}\n{how_to_go_on(work_dir)}', file=sys.stderr, flush=True)


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
