"""dist_*.sh and slurm_*.sh as a user runs them; Slurm's ``srun`` is played by a script."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rig

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='bash is not installed')
# Writes down how it was called.
SRUN = """#!/usr/bin/env python3
import json, os, sys
arguments = sys.argv[1:]
start = next(i for i, word in enumerate(arguments) if not word.startswith('-'))
seen = dict(srun=arguments[:start], command=arguments[start:], port=os.environ.get('MASTER_PORT'))
json.dump(seen, open(os.environ['SRUN_SEEN'], 'w'))
"""
CLEARED = ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS', 'PORT', 'NNODES', 'NODE_RANK')
CLEARED += ('MASTER_ADDR', 'MASTER_PORT')


def run(script, *arguments, cwd=None, **env):
    environment = {k: v for k, v in os.environ.items() if k not in CLEARED}
    environment.update(PYTHON=sys.executable, OMP_NUM_THREADS='1')
    environment['PYTHONPATH'] = f'{ROOT}{os.pathsep}{ROOT / "tests"}'
    command = ['bash', str(script), *map(str, arguments)]
    pipes = dict(capture_output=True, text=True, timeout=500)
    return subprocess.run(command, cwd=cwd, env={**environment, **env}, **pipes)


@pytest.fixture
def cluster(tmp_path):
    """Environment with the played ``srun``; what it saw comes from the function."""
    (tmp_path / 'bin').mkdir()
    srun = tmp_path / 'bin' / 'srun'
    srun.write_text(SRUN)
    srun.chmod(0o755)
    seen = tmp_path / 'seen.json'
    path = f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}'
    return dict(PATH=path, SRUN_SEEN=str(seen)), lambda: json.loads(seen.read_text())


@pytest.fixture
def torchrun(tmp_path):
    """An interpreter that writes down how it is called, but finds free ports for real."""
    python, seen = tmp_path / 'python', tmp_path / 'seen'
    python.write_text(
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {sys.executable} "$@"; fi\n'
        f'printf "%s\\n" "$@" > {seen}\n'
    )
    python.chmod(0o755)
    return dict(PYTHON=str(python)), lambda: seen.read_text().splitlines()


def option(words, name):
    (value,) = [w.split('=', 1)[1] for w in words if w.startswith(f'--{name}=')]
    return value


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_usage_when_arguments_are_missing(script, tmp_path):
    path = TOOLS / f'{script}.sh'
    assert os.access(path, os.X_OK)
    for arguments in ([], ['CONFIG']):
        done = run(path, *arguments, cwd=tmp_path)
        assert done.returncode == 2 and done.stdout == ''
        assert done.stderr.startswith(f'usage: {script}.sh ') and 'environment: ' in done.stderr


@pytest.mark.parametrize(
    'arguments, env, words',
    [
        (['c.py', '--amp'], {}, "GPUS must be a positive whole number, got '--amp'"),
        (['c.py', '0'], {}, "GPUS must be a positive whole number, got '0'"),
        (['c.py', '2'], dict(NNODES='2', MASTER_ADDR='a'), 'NNODES=2 needs NODE_RANK'),
        (['c.py', '2'], dict(NNODES='2', NODE_RANK='0'), 'NNODES=2 needs MASTER_ADDR'),
    ],
)
def test_what_would_hang_is_refused(arguments, env, words, tmp_path):
    done = run(TOOLS / 'dist_train.sh', *arguments, cwd=tmp_path, **env)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {words}') and done.stderr.count('\n') == 1


def test_dist_train_on_one_machine(torchrun, tmp_path):
    python, seen = torchrun
    passed = ['--amp', '--resume', '--auto-scale-lr', '--cfg-options', "a='x y'", 'b=2']
    # An address left over from elsewhere is not that of a single machine.
    done = run(TOOLS / 'dist_train.sh', 'c.py', 4, *passed, **python, MASTER_ADDR='elsewhere')
    assert done.returncode == 0, done.stderr
    words = seen()
    assert words[:2] == ['-m', 'torch.distributed.run']
    assert option(words, 'nproc_per_node') == '4' and option(words, 'nnodes') == '1'
    assert option(words, 'master_addr') == '127.0.0.1'
    assert 1024 < int(option(words, 'master_port')) < 65536
    tool = words.index(str(TOOLS / 'train.py'))
    assert words[tool + 1 :] == ['c.py', *passed, '--launcher', 'pytorch']
    first = option(words, 'master_port')
    run(TOOLS / 'dist_train.sh', 'c.py', 4, **python)
    assert option(seen(), 'master_port') != first  # any free one


def test_dist_test_on_two_machines(torchrun, tmp_path):
    python, seen = torchrun
    nodes = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1')
    run(TOOLS / 'dist_test.sh', 'c.py', 'k.pth', 8, '--out', 'o.pkl', **python, **nodes)
    words = seen()
    assert option(words, 'nnodes') == '2' and option(words, 'node_rank') == '1'
    assert option(words, 'master_addr') == '10.0.0.1' and option(words, 'master_port') == '29500'
    tool = words.index(str(TOOLS / 'test.py'))
    assert words[tool + 1 :] == ['c.py', 'k.pth', '--out', 'o.pkl', '--launcher', 'pytorch']
    run(TOOLS / 'dist_test.sh', 'c.py', 'k.pth', 8, **python, **nodes, PORT='12345')
    assert option(seen(), 'master_port') == '12345'


def test_scripts_run_from_a_link(torchrun, tmp_path):
    """As from the ``.mim`` folder of an editable install."""
    python, seen = torchrun
    (tmp_path / 'mim').mkdir()
    (tmp_path / 'mim' / 'tools').symlink_to(TOOLS)
    done = run(tmp_path / 'mim' / 'tools' / 'dist_train.sh', 'c.py', 1, cwd=tmp_path, **python)
    assert done.returncode == 0, done.stderr
    assert Path(seen()[-4]).samefile(TOOLS / 'train.py')


def test_slurm_train(cluster):
    env, seen = cluster
    passed = ['--amp', '--cfg-options', "a='x y'"]
    done = run(TOOLS / 'slurm_train.sh', 'part', 'job', 'c.py', 'w', *passed, **env)
    assert done.returncode == 0, done.stderr
    srun, command = seen()['srun'], seen()['command']
    assert option(srun, 'partition') == 'part' and option(srun, 'job-name') == 'job'
    assert option(srun, 'gres') == 'gpu:8' and option(srun, 'ntasks') == '8'
    assert option(srun, 'ntasks-per-node') == '8' and option(srun, 'cpus-per-task') == '5'
    assert '--kill-on-bad-exit=1' in srun
    tool = [sys.executable, '-u', str(TOOLS / 'train.py')]
    assert command == [*tool, 'c.py', '--work-dir', 'w', *passed, '--launcher', 'slurm']
    assert 20000 <= int(seen()['port']) < 30000


def test_slurm_variables(cluster):
    env, seen = cluster
    asked = dict(GPUS='4', CPUS_PER_TASK='2', SRUN_ARGS='--qos=high --exclude=n[1-2]', PORT='12345')
    run(TOOLS / 'slurm_test.sh', 'part', 'job', 'c.py', 'k.pth', '--tta', **env, **asked)
    srun, command = seen()['srun'], seen()['command']
    assert option(srun, 'ntasks') == option(srun, 'ntasks-per-node') == '4'
    assert option(srun, 'gres') == 'gpu:4' and option(srun, 'cpus-per-task') == '2'
    assert srun[-2:] == ['--qos=high', '--exclude=n[1-2]']
    assert command[2:] == [
        str(TOOLS / 'test.py'), 'c.py', 'k.pth', '--tta', '--launcher', 'slurm'
    ]  # fmt: skip
    assert seen()['port'] == '12345'
    run(TOOLS / 'slurm_test.sh', 'p', 'j', 'c.py', 'k.pth', **env, GPUS='16', GPUS_PER_NODE='4')
    assert option(seen()['srun'], 'gres') == 'gpu:4' and option(seen()['srun'], 'ntasks') == '16'


def test_slurm_without_srun(tmp_path):
    (tmp_path / 'bin').mkdir()
    for name in ('bash', 'dirname'):
        (tmp_path / 'bin' / name).symlink_to(shutil.which(name))
    script = TOOLS / 'slurm_train.sh'
    done = run(script, 'p', 'j', 'c.py', 'w', PATH=str(tmp_path / 'bin'))
    assert done.returncode == 2
    assert done.stderr == 'error: srun is not on PATH: is this a machine of a Slurm cluster?\n'


@pytest.fixture
def config(tmp_path):
    return rig.config_file(tmp_path)


def lines_of(folder):
    rows = []
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        rows += [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if 'loss' in row]


@pytest.mark.slow
def test_two_processes_train_resume_and_test(config, tmp_path):
    train, work = TOOLS / 'dist_train.sh', tmp_path / 'two'
    shared = [config, 2, '--work-dir', work, '--auto-scale-lr']
    done = run(train, *shared, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = lines_of(work)
    assert len(rows) == 4  # half as many iterations a process
    assert [row['freezing/trainable_stages'] for row in rows] == [5, 5, 0, 0]
    # Batch 2 in each of two processes is half of the base batch.
    assert rows[0]['lr'] == pytest.approx(0.01 / 2)
    more = ['--resume', '--cfg-options', 'train_cfg.max_epochs=3']
    done = run(train, *shared, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(lines_of(work)) == 6 and (work / 'epoch_3.pth').is_file()
    tested = ['--work-dir', tmp_path / 'tested', '--out', tmp_path / 'found.pkl']
    done = run(TOOLS / 'dist_test.sh', config, work / 'epoch_3.pth', 2, *tested, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (scores,) = (tmp_path / 'tested').glob('*/*.json')
    # Both processes write it, the longer one's end may be left.
    assert json.JSONDecoder().raw_decode(scores.read_text())[0]['count'] == 8
