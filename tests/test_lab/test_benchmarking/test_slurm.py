"""Runs as jobs: whatever ends one, its folder says so. Case 19.

submitit is a stand-in here that does its jobs at once; the runs only pretend to train.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmbackbone_plugins.lab import interruption
from mmbackbone_plugins.lab.benchmarking import RunFolder, load_results, read_plan, single, slurm

PLAN = """
datasets: [d]
detectors: [m]
methods:
  a: a.py
  b: {config: a.py, options: {value: 1}}
  c: {config: a.py, options: {value: 2}}
"""
CONFIG = "custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)\n"


class Executor:
    """As submitit's: an array of jobs, each with the environment that Slurm gives it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def update_parameters(self, **_):
        pass

    def map_array(self, job, folders):
        for number, folder in enumerate(folders):
            os.environ.update(SLURM_ARRAY_JOB_ID='7', SLURM_ARRAY_TASK_ID=str(number))
            try:
                job(folder)
            except Exception:  # submitit keeps it in its own file
                pass
        return [SimpleNamespace(job_id=f'7_{n}') for n in range(len(folders))]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('SLURM_ARRAY_JOB_ID', 'SLURM_ARRAY_TASK_ID', 'SLURM_JOB_ID'):
        monkeypatch.setenv(name, '')  # so that what the executor sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, 'submitit', SimpleNamespace(AutoExecutor=Executor))
    Path('a.py').write_text(CONFIG)
    Path('p.yml').write_text(PLAN)
    plan = read_plan('p.yml', 'out')
    return [RunFolder.of(plan, run) for run in plan.runs]


def submit(folders, monkeypatch, code):
    monkeypatch.setattr(slurm, '_command', lambda folder, gpus: [sys.executable, '-c', code])
    assert slurm.submit(folders, Path('out'), 'gpu', 1, 1, 1) == ['7_0', '7_1', '7_2']
    return [result.error for result in load_results('out')]


def test_a_job_writes_down_what_its_run_could_not(folders, monkeypatch):
    killed = submit(folders, monkeypatch, 'import os; os.kill(os.getpid(), 9)')
    assert killed == [f'job 7_{n}: killed by SIGKILL' for n in range(3)]
    assert [f.state for f in folders] == ['failed'] * 3
    assert submit(folders, monkeypatch, 'exit(3)')[2] == 'job 7_2: exit status 3'


def test_a_job_leaves_the_words_of_its_run(folders, monkeypatch):
    folders[0].make_ready()

    def fails(command, check):
        folders[0].fail('epoch 2, iteration 3: KeyError: boat')
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(slurm.subprocess, 'run', fails)
    with pytest.raises(subprocess.CalledProcessError):
        slurm.Job(1)(str(folders[0].path))
    assert folders[0].result().error == 'epoch 2, iteration 3: KeyError: boat'


def test_a_job_that_is_not_requeued_any_more(folders, monkeypatch):
    """submitit raises inside of what the job waits for."""
    folders[0].make_ready()

    def timed_out(command, check):
        raise RuntimeError('Job not requeued because: timed-out too many times.')

    monkeypatch.setattr(slurm.subprocess, 'run', timed_out)
    with pytest.raises(RuntimeError):
        slurm.Job(1)(str(folders[0].path))
    assert 'timed-out too many times' in folders[0].result().error


@pytest.mark.parametrize(
    'line, known',
    [
        ('slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026-01-01 DUE TO TIME LIMIT ***', True),
        ('slurmstepd: error: Detected 1 oom_kill event in StepId=9.0', True),
        ('srun: error: n1: task 0: Out Of Memory', True),
        ('slurmstepd: error: *** STEP 9 ON n1 CANCELLED AT 2026 DUE TO JOB REQUEUE ***', False),
        ('warning: 5 labels', False),
    ],
)
def test_what_slurm_says_of_a_job_that_was_killed_whole(folders, line, known):
    run = folders[0]
    run.make_ready()
    (run.path / 'train').mkdir()
    (run.path / slurm.JOB).write_text('7_0')
    logs = Path('out') / 'slurm'
    logs.mkdir()
    (logs / '7_0_0_log.err').write_text(f'training\n{line}\nbye\n')
    (logs / '7_1_0_log.err').write_text('slurmstepd: error: *** JOB 8 CANCELLED ***\n')
    with run.alone():
        slurm.note_ends(folders, Path('out'))
    assert run.state == 'begun'  # a process is at it
    slurm.note_ends(folders, Path('out'))
    assert [f.state for f in folders] == ['failed' if known else 'begun', 'new', 'new']
    assert not known or run.result().error == line


def run_single(folder, capsys, monkeypatch, execute):
    monkeypatch.setattr(single, 'execute', execute)
    with pytest.raises(SystemExit) as end:
        single.main([str(folder.path)])
    return end.value.code, capsys.readouterr().err.splitlines()[-1]


def test_a_run_writes_down_its_own_failure(folders, capsys, monkeypatch):
    def fails(*_):
        raise ValueError('rho must be whole')

    folders[0].make_ready()
    folders[0].fail('an earlier one')
    assert run_single(folders[0], capsys, monkeypatch, fails) == (2, 'error: rho must be whole')
    assert folders[0].result().error == 'rho must be whole'
    assert (folders[0].path / 'result.failed.json').is_file()


def test_a_run_that_slurm_stops_says_so(folders, monkeypatch):
    noted = threading.Event()

    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted.wait(10)

    def end(number, request):
        request.note(number)
        noted.set()

    monkeypatch.setattr(interruption, '_end', end)
    monkeypatch.setattr(single, 'execute', stopped)
    monkeypatch.setenv('SLURM_JOB_ID', '12')
    folders[0].make_ready()
    (folders[0].path / 'progress.json').write_text('{"done": 0.25}')
    assert single.main([str(folders[0].path)]) == 0
    error = folders[0].result().error
    assert 'SIGTERM' in error and 'at 25% of its training' in error
    assert 'time limit of job 12' in error and not folders[0].busy
