"""The scripts and the benchmark against a real Slurm: of one machine, with two made-up GPUs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import kills
import pytest
import rig
import torch
import yaml
from mmengine.config import Config

from mmbackbone_plugins.lab.toy import make_toy_dataset

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = Path(__file__).with_name('cluster.sh')
NEEDED = ('slurmctld', 'slurmd', 'munged', 'sbatch')
_absent = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(getattr(os, 'geteuid', lambda: 1)() != 0, reason='needs root'),
    pytest.mark.skipif(bool(_absent), reason=f'needs slurm-wlm and munge: no {_absent}'),
]


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """Runs a command in the cluster, and ends the cluster."""
    folder = tmp_path_factory.mktemp('slurm')
    started = subprocess.run([CLUSTER, 'start', folder], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f'no Slurm on this machine: {started.stderr[-500:]}')
    clear = ('SLURM', 'MASTER_', 'GPUS', 'CPUS_PER_TASK', 'RANK', 'WORLD_SIZE')
    env = {k: v for k, v in os.environ.items() if not k.startswith(clear)}
    paths = [ROOT, ROOT / 'tests', *filter(None, [os.environ.get('PYTHONPATH')])]
    env.update(SLURM_CONF=str(folder / 'slurm.conf'), PYTHONPATH=os.pathsep.join(map(str, paths)))
    env.update(PYTHON=sys.executable, OMP_NUM_THREADS='1', GPUS='2', CPUS_PER_TASK='1')
    env.update(PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')

    def run(*command, code=0, cwd=ROOT, **more):
        words = [str(word) for word in command]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        done = subprocess.run(words, env={**env, **more}, cwd=cwd, **pipes)
        assert code is None or done.returncode == code, done.stdout[-4000:]
        return done.stdout

    yield run
    for command in (['squeue', '--all'], ['sacct', '--completion'], ['scontrol', 'show', 'job']):
        print(run(*command, code=None))
    subprocess.run([CLUSTER, 'stop', folder], check=True)


def wait(found, seconds=240):
    limit = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < limit
        time.sleep(0.3)


def state(slurm, job):
    """State and number of restarts of a job."""
    text = slurm('scontrol', 'show', 'job', job)
    return re.search(r'JobState=(\w+)', text)[1], int(re.search(r'Restarts=(\d+)', text)[1])


def write(folder, epochs=4, **more):
    """A config with everything that is random made a function of the seed, and slow steps."""
    cfg = Config.fromfile(rig.config_file(folder))
    cfg.custom_imports.imports += ['kills']
    cfg.custom_hooks += [dict(type='RandomStateHook'), dict(type='Slow')]
    cfg.default_hooks.checkpoint.interval = 100
    cfg.train_cfg.max_epochs = epochs
    cfg.model.backbone.norm_eval = True  # statistics of the first rank alone are in a checkpoint
    cfg.merge_from_dict(more)
    cfg.dump(folder / 'slow.py')
    return folder / 'slow.py'


def weights(folder):
    path, _ = kills.last_checkpoint(str(folder))
    return torch.load(path, weights_only=False)['state_dict']


def test_train_and_test_scripts(slurm, tmp_path):
    """Two tasks over gloo end with the bits of torchrun's two processes."""
    config, tools = rig.config_file(tmp_path), ROOT / 'tools'
    said = slurm(tools / 'slurm_train.sh', 'tests', 'job', config, tmp_path / 'slurm', '--resume')
    assert said.count('torch sees no GPU') == 1
    slurm(tools / 'dist_train.sh', config, 2, '--work-dir', tmp_path / 'torchrun')
    found = weights(tmp_path / 'slurm')
    assert not rig.equal(found, weights(tmp_path / 'torchrun'))
    checkpoint, tested = tmp_path / 'slurm' / 'epoch_2.pth', tmp_path / 'tested'
    slurm(
        *(tools / 'slurm_test.sh', 'tests', 'job', config, checkpoint, '--work-dir', tested),
        SRUN_ARGS='--time=5',
    )
    (scores,) = tested.glob('*/*.json')
    assert '"count": 8' in scores.read_text()


def test_the_batch_script_of_the_docs(slurm, tmp_path):
    """It requeues itself, goes on in the middle of an epoch, and loses no bit.

    The signal is sent by hand: Slurm sends its own up to a minute early, so while the job starts.
    """
    text = (ROOT / 'docs' / 'howto' / 'cluster.md').read_text()
    script = re.search(r'```\n(#!/usr/bin/env bash\n#SBATCH.*?)```', text, re.DOTALL)[1]
    config = write(tmp_path, epochs=12)
    for old, new in {
        'PARTITION': 'tests',
        '--nodes=2': '--nodes=1 --output=out.txt',
        '--gres=gpu:8 --ntasks-per-node=8': '--gres=gpu:2 --ntasks-per-node=2',
        '--cpus-per-task=6': '--cpus-per-task=1',
        '--time=24:00:00': '--time=5',
        'CONFIG': str(config),
    }.items():
        assert old in script
        script = script.replace(old, new)
    (tmp_path / 'job.sh').write_text(script)
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    job = slurm('sbatch', '--parsable', 'job.sh', cwd=tmp_path).strip()
    wait(lambda: list(tmp_path.glob('work_dirs/*/*/vis_data/scalars.json')))
    slurm('scancel', '--signal=USR1', job)
    wait(lambda: state(slurm, job)[0] in ('COMPLETED', 'FAILED', 'TIMEOUT', 'CANCELLED'), 400)
    said = (tmp_path / 'out.txt').read_text()
    assert state(slurm, job) == ('COMPLETED', 1), said[-4000:]
    assert said.count('was asked to end (SIGUSR1)') == 1 and 'last checkpoint:' in said
    (cut,) = (tmp_path / 'work_dirs').iterdir()
    slurm(
        *('srun', '-n2', '--gres=gpu:2', 'python', ROOT / 'tools' / 'train.py', config),
        *('--launcher', 'slurm', '--work-dir', tmp_path / 'whole'),
        SLURM_RESTART_COUNT='1',
    )
    assert not rig.equal(weights(cut), weights(tmp_path / 'whole'))


def test_a_job_that_is_cancelled(slurm, tmp_path):
    work_dir = tmp_path / 'work'
    command = shlex.join([
        *('srun', 'python', '-u', str(ROOT / 'tools' / 'train.py'), str(write(tmp_path))),
        *('--launcher', 'slurm', '--work-dir', str(work_dir)),
    ])  # fmt: skip
    job = slurm('sbatch', '--parsable', '--output=out.txt', '--wrap', command, cwd=tmp_path).strip()
    wait(lambda: list(work_dir.glob('*/vis_data/scalars.json')))
    slurm('scancel', job)
    wait(lambda: state(slurm, job)[0] == 'CANCELLED')
    out = tmp_path / 'out.txt'
    wait(lambda: 'was asked to end (SIGTERM)' in out.read_text(), 60)
    assert re.search(r'last checkpoint: .*/iter_\d+\.pth', out.read_text())


def plan(folder):
    make_toy_dataset(folder / 'toy', fmt='dota', counts=(4, 2, 0), size=128, density=24.0)
    options = {
        'model.backbone.base_channels': 8,
        'model.neck.in_channels': [8, 16, 32, 64],
        'train_cfg.max_epochs': 1,
        'param_scheduler': [],
        'default_hooks.checkpoint': dict(interval=1, save_best=None),
        'val_evaluator': dict(_delete_=True, type='OrientedMetric'),
    }
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader.dataset.data_root'] = f'{folder}/toy/'
    config = 'configs/demo/rotated-retinanet_r18_fpn_{}_toy-dota.py'
    broken = dict(config=config.format('frozen'), options={'optim_wrapper.optimizer.lr': -1.0})
    content = dict(
        work_dir=str(folder / 'work'),
        options=options,
        datasets=dict(toy=dict(tests=dict(clear=dict(split='val')))),
        detectors=['small'],
        methods=dict(full=config.format('full'), broken=broken),
    )
    (folder / 'plan.yml').write_text(yaml.safe_dump(content))
    return [sys.executable, 'tools/benchmark.py', folder / 'plan.yml']


def check_report(slurm, tool, folder):
    slurm(*tool, '--report')
    report = (folder / 'work' / 'report' / 'report.md').read_text()
    assert 'toy/small/broken/seed0' in report and 'Invalid learning rate: -1.0' in report
    assert (folder / 'work/runs/toy/small/full/seed0/result.json').is_file()


def test_benchmark_print(slurm, tmp_path):
    tool = plan(tmp_path)
    lines = slurm(*tool, '--slurm', 'print', '--partition', 'tests').splitlines()
    broken, full = sorted(line for line in lines if line.startswith('srun '))
    slurm('bash', '-c', full)
    assert 'Invalid learning rate' in slurm('bash', '-c', broken, code=2)
    check_report(slurm, tool, tmp_path)


def test_benchmark_submit(slurm, tmp_path):
    pytest.importorskip('submitit')
    tool = plan(tmp_path)
    said = slurm(*tool, '--slurm', 'submit', '--partition', 'tests', '--jobs', 2, '--hours', 1)
    job = re.search(r'submitted 2 jobs: (\d+)_0', said)[1]
    wait(lambda: not slurm('squeue', '--noheader', '--job', job, code=None).strip())
    check_report(slurm, tool, tmp_path)
