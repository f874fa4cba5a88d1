"""The command line tools as a user runs them: messages, overrides, several processes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config

from mmbackbone_plugins.lab import launch

ROOT = Path(__file__).resolve().parents[2]


def run_tool(*arguments, cwd=None, **env):
    environment = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}')
    environment.update(OMP_NUM_THREADS='1', **env)
    command = [sys.executable, *map(str, arguments)]
    pipes = dict(capture_output=True, text=True, timeout=500)
    return subprocess.run(command, cwd=cwd, env=environment, **pipes)


@pytest.fixture
def config(tmp_path):
    """A config file of a tiny run; its data are drawn in memory by the rig."""
    return rig.tiny_config(tmp_path)


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
@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--work-dir', 'tiny_dbf.py/below'], "work_dir 'tiny_dbf.py/below' cannot be written"),
        (['--resume', 'gone.pth'], "checkpoint 'gone.pth' is not there"),
        (['--launcher', 'mpi'], "launcher='mpi' needs a GPU"),
        (['--cfg-options', 'custom_hooks.0.type=FreezeHook'], 'nearest: FreezingSchedulerHook'),
        (['--cfg-options', 'custom_hooks.0.target=bakbone'], "'bakbone' does not exist"),
        (['--cfg-options', 'model.type=RetinaNt'], 'nearest: RetinaNet'),
        (['--cfg-options', 'model.backbone.dept=18'], "'dept'"),
    ],
)
def test_what_cannot_start_is_one_line(config, tmp_path, arguments, words):
    train = ROOT / 'tools' / 'train.py'
    done = run_tool(train, config.name, *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES='')
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith('error: ')]
    assert words in line and done.stderr.splitlines()[-1] == line


@pytest.mark.slow
def test_weights_that_do_not_fit(config, tmp_path):
    """Scored, and trained from, nothing that leaves the detector, or its backbone, as it was."""
    train, test = ROOT / 'tools' / 'train.py', ROOT / 'tools' / 'test.py'
    state = rig.build(rig.detector()).state_dict()
    plain = {name: tensor for name, tensor in state.items() if not name.startswith('bbox_head.')}
    torch.save(dict(state_dict=plain), tmp_path / 'no_head.pth')
    torch.save(dict(state_dict={'w': torch.ones(1)}), tmp_path / 'other.pth')
    (tmp_path / 'torn.pth').write_bytes((tmp_path / 'other.pth').read_bytes()[:99])
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.length=2']
    start = ['--work-dir', 'w', *options, 'load_from=other.pth']
    misfits = [
        ([test, config.name, 'no_head.pth'], "'no_head.pth' does not fit the config, 8 keys"),
        ([test, config.name, 'torn.pth'], "'torn.pth' cannot be read: it is torn or damaged"),
        ([train, config.name, *start], "load_from='other.pth' does not fit the config"),
        ([train, config.name, '--resume', 'no_head.pth'], "'no_head.pth' holds weights alone"),
    ]
    for arguments, words in misfits:
        done = run_tool(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and 'Traceback' not in done.stderr, done.stderr[-3000:]
        (line,) = [text for text in done.stderr.splitlines() if text.startswith('error: ')]
        assert words in line
    assert not list((tmp_path / 'w').rglob('*.pth'))
    start[-1] = 'load_from=no_head.pth'
    done = run_tool(train, config.name, *start, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "load_from='no_head.pth': 8 of" in done.stdout + done.stderr
    start[-1] = 'load_from=other.pth'
    assert run_tool(train, config.name, '--allow-partial', *start, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['train.py', 'nowhere.py'], ["config 'nowhere.py' does not exist"]),
        (['train.py', 'configs/dbf/oriented-rcnn_dbf.py'], ['nearest', '_dbf-rho5-1x_dota']),
        (['test.py', 'nowhere.py', 'nothing.pth'], ["checkpoint 'nothing.pth' does not exist"]),
        (['analysis_tools/print_freezing_schedule.py', 'nowhere.py'], ['nowhere.py']),
    ],
)
def test_missing_files_are_one_line(arguments, words):
    done = run_tool(ROOT / 'tools' / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr and all(w in done.stderr for w in words)


@pytest.mark.parametrize(
    'text, options, words',
    [
        ('model = dict(', None, 'cannot be read: SyntaxError: '),
        ('model = nowhere', None, "cannot be read: NameError: name 'nowhere' is not defined"),
        ('model = dict(init_cfg=None)', {'model.init_cfg.type': 'a'}, '--cfg-options do not fit'),
    ],
)
def test_configs_that_cannot_be_read(text, options, words, tmp_path):
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(ValueError) as found:
        launch.load_config(str(tmp_path / 'config.py'), options)
    assert words in str(found.value) and '\n' not in str(found.value)


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
    for gpus in (0, 2):
        monkeypatch.setattr('torch.cuda.device_count', lambda gpus=gpus: gpus)
        with pytest.raises(ValueError, match='torchrun --nproc_per_node'):
            launch.start_processes(Config(dict(launcher='pytorch')))
        launch.start_processes(Config(dict(launcher='none')))


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_that_need_a_gpu_say_so(monkeypatch, launcher):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    with pytest.raises(ValueError, match=f"launcher='{launcher}' needs a GPU, .* --gres=gpu:1"):
        launch.start_processes(Config(dict(launcher=launcher)))
    monkeypatch.setattr('torch.cuda.device_count', lambda: 1)
    launch.start_processes(Config(dict(launcher=launcher)))  # mmengine's own, from here


def test_a_process_without_a_gpu_of_its_own_says_so(monkeypatch):
    environment = dict(RANK='2', WORLD_SIZE='3', LOCAL_RANK='2', MASTER_ADDR='127.0.0.1')
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cfg = Config(dict(launcher='pytorch'))
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    with pytest.raises(ValueError, match='process 2 of this machine has no GPU: torch sees 2'):
        launch.start_processes(cfg)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 3)
    launch.start_processes(cfg)
    assert 'model_wrapper_cfg' not in cfg and not launch.torch.distributed.is_initialized()


def test_a_work_dir_is_made_and_left_empty(tmp_path):
    launch.check_work_dir(tmp_path / 'new' / 'run')
    assert list((tmp_path / 'new' / 'run').iterdir()) == []
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'epoch_1.pth').write_text('precious')
    launch.check_work_dir(tmp_path / 'old')
    assert [path.name for path in (tmp_path / 'old').iterdir()] == ['epoch_1.pth']


@pytest.mark.parametrize('below', ['', 'run'])
def test_a_file_in_the_place_of_the_work_dir(tmp_path, below):
    (tmp_path / 'file').write_text('precious')
    folder = tmp_path / 'file' / below
    with pytest.raises(OSError) as error:
        launch.check_work_dir(folder)
    assert str(error.value).startswith(f"work_dir '{folder}' cannot be written (")
    assert '--work-dir' in str(error.value)
    assert (tmp_path / 'file').read_text() == 'precious'


def test_a_read_only_work_dir(tmp_path, monkeypatch):
    """Played: permissions stop nobody who runs the tests as root."""

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(launch.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(OSError, match='cannot be written .Read-only file system.'):
        launch.check_work_dir(tmp_path)


def test_help_answers_without_the_stack():
    """mim calls it; it must not import torch or open data."""
    planners = ('analysis_tools/print_freezing_schedule.py', 'analysis_tools/plan_cost.py')
    for tool in ('train.py', 'test.py', *planners):
        done = run_tool('-X', 'importtime', ROOT / 'tools' / tool, '--help')
        assert done.returncode == 0 and 'usage' in done.stdout
        assert '| mmdet' not in done.stderr and '| mmrotate' not in done.stderr
