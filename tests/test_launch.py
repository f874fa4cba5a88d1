"""The command line tools as a user runs them: messages, overrides, several processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rig
from mmengine.config import Config

from mmbackbone_plugins import launch

ROOT = Path(__file__).resolve().parents[1]


def run_tool(*arguments, cwd=None, **env):
    environment = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}')
    environment.update(OMP_NUM_THREADS='1', **env)
    command = [sys.executable, *map(str, arguments)]
    pipes = dict(capture_output=True, text=True, timeout=500)
    return subprocess.run(command, cwd=cwd, env=environment, **pipes)


@pytest.fixture
def config(tmp_path):
    """A config file of a tiny run; its data are drawn in memory by the rig."""
    built = rig.runner(tmp_path / 'unused', hooks=[rig.dbf(2)], epochs=2, validate=True)
    cfg = built.cfg
    cfg.pop('work_dir')
    cfg.custom_imports = dict(imports=['mmbackbone_plugins', 'rig'], allow_failed_imports=False)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_cfg, cfg.test_evaluator = dict(), cfg.val_evaluator
    cfg.auto_scale_lr = dict(base_batch_size=4, enable=False)
    path = tmp_path / 'tiny_dbf.py'
    cfg.dump(path)
    return path


def lines_of(folder):
    path = next(folder.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_train_resume_and_test(config, tmp_path):
    train, test = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
    first = run_tool(
        train, config, '--auto-scale-lr', '--cfg-options', 'log_level=INFO', cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr[-3000:]
    folder = tmp_path / 'work_dirs' / 'tiny_dbf'
    assert lines_of(folder)[0]['lr'] == pytest.approx(0.01 * 2 / 4)
    assert 'stages of' in first.stdout + first.stderr
    more = run_tool(
        train, config, '--resume', '--cfg-options', 'train_cfg.max_epochs=3', cwd=tmp_path
    )
    assert more.returncode == 0, more.stderr[-3000:]
    assert (folder / 'epoch_3.pth').exists()
    tested = run_tool(test, config, folder / 'epoch_3.pth', '--work-dir', tmp_path / 't')
    assert tested.returncode == 0, tested.stderr[-3000:]
    scores = [json.loads(p.read_text()) for p in (tmp_path / 't').glob('*/*.json')]
    assert scores and scores[0]['count'] == 8


@pytest.mark.slow
def test_torchrun_on_a_cpu(config, tmp_path):
    done = run_tool(
        '-m',
        'torch.distributed.run',
        '--nproc_per_node=2',
        f'--master_port={rig.free_port()}',
        ROOT / 'tools' / 'train.py',
        config,
        '--launcher',
        'pytorch',
        '--work-dir',
        tmp_path / 'two',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in lines_of(tmp_path / 'two') if 'loss' in line]
    assert len(lines) == 4  # half as many iterations a rank
    assert [line['freezing/trainable_stages'] for line in lines] == [5, 5, 0, 0]


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['train.py', 'nowhere.py'], ["config 'nowhere.py' does not exist"]),
        (['test.py', 'nowhere.py', 'nothing.pth'], ["checkpoint 'nothing.pth' does not exist"]),
        (['analysis_tools/print_freezing_schedule.py', 'nowhere.py'], ['nowhere.py']),
    ],
)
def test_missing_files_are_one_line(arguments, words):
    done = run_tool(ROOT / 'tools' / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr and all(w in done.stderr for w in words)


def test_missing_data_are_named_with_what_to_do(tmp_path):
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(
                        type='DOTADataset',
                        data_root=str(tmp_path),
                        ann_file='train/annfiles/',
                        data_prefix=dict(img_path='train/images/'),
                    ),
                )
            ),
            val_dataloader=dict(dataset=dict(type='DOTADataset', data_root='data/nowhere')),
        )
    )
    (tmp_path / 'train' / 'images').mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as error:
        launch.check_data(cfg)
    message = str(error.value)
    assert f'train_dataloader.dataset.dataset.ann_file: {tmp_path}/train/annfiles' in message
    assert 'val_dataloader.dataset.data_root: data/nowhere' in message
    assert 'img_path' not in message and 'make_toy_data.py' in message
    (tmp_path / 'train' / 'annfiles').mkdir()
    launch.check_data(cfg, ('train_dataloader',))


def test_launcher_outside_torchrun_is_one_clear_error(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(RuntimeError, match='torchrun --nproc_per_node'):
        launch.start_processes(Config(dict(launcher='pytorch')))
    launch.start_processes(Config(dict(launcher='none')))


def test_help_answers_without_the_stack():
    """mim calls it; it must not import torch or open data."""
    planners = ('analysis_tools/print_freezing_schedule.py', 'analysis_tools/plan_cost.py')
    for tool in ('train.py', 'test.py', *planners):
        done = run_tool('-X', 'importtime', ROOT / 'tools' / tool, '--help')
        assert done.returncode == 0 and 'usage' in done.stdout
        assert '| mmdet' not in done.stderr and '| mmrotate' not in done.stderr
