"""What a run says when it is ended from outside."""

import faulthandler
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from mmbackbone_plugins.lab import interruption

ROOT = Path(__file__).resolve().parents[2]
PEER = '[/pytorch/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4'


@pytest.fixture
def job(monkeypatch, tmp_path):
    """One of four processes of torchrun, with a checkpoint."""
    for name, value in dict(RANK='0', LOCAL_WORLD_SIZE='4', TORCHELASTIC_RUN_ID='none').items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(interruption, 'get_world_size', lambda: 4)
    monkeypatch.setattr(interruption, 'GRACE', 0.0)
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', 'a config.py', '--launcher', 'pytorch'])
    interruption._said.clear()
    torch.save({}, tmp_path / 'epoch_7.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_7.pth'))
    return tmp_path


def test_a_lost_process(job, capsys):
    with pytest.raises(SystemExit) as end, interruption.explained(str(job)):
        raise RuntimeError(f'{PEER}\nand more')
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.splitlines()[1:] == [
        f'error: rank 0 lost touch with another process of this job ({PEER})',
        '  which process died first: see "Root Cause" at the end of the output',
        f'  last checkpoint: {job}/epoch_7.pth',
        "  to go on: torchrun --nproc_per_node 4 tools/train.py 'a config.py' "
        '--launcher pytorch --resume',
    ]


@pytest.mark.parametrize('rank, says', [(0, True), (1, True), (2, False), (3, False)])
def test_two_ranks_may_speak(rank, says, job, capsys, monkeypatch):
    """The one that died may be the first."""
    monkeypatch.setenv('RANK', str(rank))
    with pytest.raises(SystemExit), interruption.explained(str(job)):
        raise RuntimeError(PEER)
    assert bool(capsys.readouterr().err) == says


def test_errors_of_ones_own_pass(job, capsys, monkeypatch):
    for error in (RuntimeError('CUDA out of memory'), ValueError(PEER)):
        with pytest.raises(type(error)), interruption.explained(str(job)):
            raise error
    monkeypatch.setattr(interruption, 'get_world_size', lambda: 1)
    with pytest.raises(RuntimeError), interruption.explained(str(job)):
        raise RuntimeError(PEER)
    assert capsys.readouterr().err == ''


def test_an_error_of_the_backend_keeps_its_trace(job, capsys):
    kind = getattr(torch.distributed, 'DistBackendError', None)
    if kind is None:
        pytest.skip('this torch has no DistBackendError')
    with pytest.raises(SystemExit), interruption.explained(str(job)):
        raise kind('NCCL error in: ProcessGroupNCCL.cpp:3384, unhandled system error')
    said = capsys.readouterr().err
    assert said.startswith('Traceback') and 'last checkpoint:' in said


@pytest.mark.parametrize(
    'given, wanted',
    [
        (['c.py'], ['c.py', '--resume']),
        (['c.py', '--resume'], ['c.py', '--resume']),
        (['c.py', '--resume', 'x.pth', '--amp'], ['c.py', '--amp', '--resume']),
        (['c.py', '--resume=x.pth', '--local-rank=3'], ['c.py', '--resume']),
    ],
)
def test_the_command(given, wanted, job, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['t.py', *given])
    told = interruption.how_to_go_on(str(job)).split('to go on: ')[1].split()
    assert told == ['torchrun', '--nproc_per_node', '4', 't.py', *wanted]
    monkeypatch.setenv('GROUP_WORLD_SIZE', '2')
    assert '--nnodes 2 ... t.py' in interruption.how_to_go_on(str(job))
    monkeypatch.delenv('TORCHELASTIC_RUN_ID')
    monkeypatch.setenv('SLURM_PROCID', '0')
    assert 'srun ... python -u t.py' in interruption.how_to_go_on(str(job))
    monkeypatch.delenv('SLURM_PROCID')
    assert 'to go on: python t.py' in interruption.how_to_go_on(str(job))


def test_torn_and_missing_checkpoints(job):
    torch.save({}, job / 'epoch_6.pth')
    (job / 'epoch_7.pth').write_bytes(b'half')
    text = interruption.how_to_go_on(str(job))
    assert 'epoch_7.pth is torn' in text and f'last checkpoint: {job}/epoch_6.pth' in text
    (job / 'epoch_6.pth').unlink()
    assert 'no checkpoint in' in interruption.how_to_go_on(str(job))
    assert 'no checkpoint yet' in interruption.how_to_go_on(str(job / 'empty'))


SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _as_a_shell_starts():
    """Under ``nohup`` the tests, too, would ignore SIGHUP."""
    before = [signal.signal(number, signal.SIG_DFL) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before):
        signal.signal(number, handler)


def test_all_is_put_back(job):
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruption.explained(str(job)):
        assert all(signal.getsignal(n) is not old for n, old in zip(SIGNALS, before))
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture
def ended(monkeypatch):
    """Signals that would have ended the run."""
    found = queue.Queue()
    monkeypatch.setattr(interruption, '_end', lambda number, _: found.put(number))
    return found


@pytest.fixture
def handled():
    """Sets handlers of a user's own, which list what they get, and takes them away at the end."""
    got = []

    def handle(number, handler=None):
        signal.signal(number, handler or (lambda n, _: got.append(n)))

    handle.got = got
    yield handle
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize('number', SIGNALS)
def test_signals_of_schedulers(number, job, ended):
    with interruption.explained(str(job)):
        os.kill(os.getpid(), number)
        assert ended.get(timeout=10) == number


@pytest.mark.parametrize('when', ['before', 'meanwhile'])
@pytest.mark.parametrize('number', SIGNALS)
def test_handlers_of_a_users_own_are_left_alone(number, when, job, ended, handled):
    if when == 'before':
        handled(number)
    with interruption.explained(str(job)):
        handled(number) if when == 'meanwhile' else None
        own = signal.getsignal(number)
        os.kill(os.getpid(), number)
        other = signal.SIGUSR1 if number != signal.SIGUSR1 else signal.SIGUSR2
        os.kill(os.getpid(), other)
        assert ended.get(timeout=10) == other and ended.empty()
    assert handled.got == [number] and signal.getsignal(number) is own


def test_what_nohup_ignores_and_faulthandler_prints(job, handled, tmp_path):
    """Ignored by an ancestor; handled below Python, where getsignal() does not see it."""
    handled(signal.SIGHUP, signal.SIG_IGN)
    with (tmp_path / 'trace').open('w') as file:
        faulthandler.register(signal.SIGUSR1, file)
        try:
            with interruption.explained(str(job)):
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
                os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            faulthandler.unregister(signal.SIGUSR1)
    assert 'test_interruption' in (tmp_path / 'trace').read_text()


def test_nothing_in_another_thread(job):
    found = []

    def look():
        with interruption.explained(str(job)):
            found.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL] * 4


def test_a_platform_without_them(job, monkeypatch, ended):
    """As Windows, which has no such signals and wakes by sockets only."""
    monkeypatch.delattr(os, 'set_blocking', raising=False)
    monkeypatch.setattr(interruption, 'SIGNALS', (signal.SIGTERM,))
    with interruption.explained(str(job)):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.get(timeout=10) == signal.SIGTERM


FORKS = """
import multiprocessing, os, signal, sys, time
from mmbackbone_plugins.lab import interruption
with interruption.explained(sys.argv[1]):
    children = [multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))]
    children[0].start()
    pool = multiprocessing.get_context('fork').Pool(2)
    assert pool.map(abs, [-1, 2]) == [1, 2]
    time.sleep(0.2)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):  # sent to all of a job
        os.kill(children[0].pid, number)
    children[0].terminate()
    pool.terminate()
    for child in children:
        child.join(30)
    pool.join()
    time.sleep(1)
    print(children[0].exitcode, flush=True)
"""


def test_children_end_by_themselves(job):
    """What evaluations fork is ended by SIGTERM too; that must not end the run."""
    command = [sys.executable, '-c', FORKS, str(job)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), RANK='0')
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, '-15\n'), done.stderr
    assert 'SIGTERM' not in done.stderr


BUSY = """
import hashlib, sys
from mmbackbone_plugins.lab import interruption
with interruption.explained(sys.argv[1]):
    print('ready', flush=True)
    hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)  # no handler of Python's runs meanwhile
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_while_the_main_thread_never_comes_back(number, job):
    """As one that waits in a collective of NCCL."""
    command = [sys.executable, '-c', BUSY, str(job)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), RANK='0')
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, env=env, **pipes) as started:
        assert started.stdout.readline() == 'ready\n'
        started.send_signal(number)
        try:
            _, said = started.communicate(timeout=30)
        finally:
            started.kill()
    assert started.returncode == 128 + number
    assert f'error: rank 0 was asked to end ({number.name})' in said and 'epoch_7.pth' in said
