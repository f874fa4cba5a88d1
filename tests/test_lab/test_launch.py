"""The command line tools as a user runs them: messages, overrides, several processes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rig
import torch
from mmengine.config import Config

from mmbackbone_plugins.lab import launch, weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config file of a tiny run, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    return rig.config_file(tmp_path).name


def error_of(capsys, *arguments):
    """The one line with which a tool ends."""
    assert rig.call_tool(*arguments) == 2
    said = capsys.readouterr().err
    (line,) = [text for text in said.splitlines() if text.startswith('error: ')]
    assert 'Traceback' not in said and said.splitlines()[-1] == line
    return line


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
def test_what_cannot_start_is_one_line(config, arguments, words, capsys):
    assert words in error_of(capsys, 'train', config, *arguments)


def test_weights_that_do_not_fit(config, tmp_path, capsys, monkeypatch):
    """Scored, and trained from, nothing that leaves the detector, or its backbone, as it was."""
    state = rig.build(rig.detector()).state_dict()
    plain = {name: tensor for name, tensor in state.items() if not name.startswith('bbox_head.')}
    torch.save(dict(state_dict=plain), tmp_path / 'no_head.pth')
    torch.save(dict(state_dict={'w': torch.ones(1)}), tmp_path / 'other.pth')
    (tmp_path / 'torn.pth').write_bytes((tmp_path / 'other.pth').read_bytes()[:99])
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.dataset.length=2']
    start = ['--work-dir', 'w', *options, 'load_from=other.pth']
    for arguments, words in [
        (['test', config, 'no_head.pth'], "'no_head.pth' does not fit the config, 8 keys"),
        (['test', config, 'torn.pth'], "'torn.pth' cannot be read: it is torn or damaged"),
        (['train', config, *start], "load_from='other.pth' does not fit the config"),
        (['train', config, '--resume', 'no_head.pth'], "'no_head.pth' holds weights alone"),
    ]:
        assert words in error_of(capsys, *arguments)
    assert not list((tmp_path / 'w').rglob('*.pth'))
    said = []  # the log that it goes to is the last that this process has made
    monkeypatch.setattr(weights, '_warn', said.append)
    assert rig.call_tool('train', config, *start[:-1], 'load_from=no_head.pth') == 0
    assert "load_from='no_head.pth': 8 of" in said[0]
    assert rig.call_tool('train', config, '--allow-partial', *start) == 0


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['train', 'nowhere.py'], ["config 'nowhere.py' does not exist"]),
        (['train', 'configs/dbf/oriented-rcnn_dbf.py'], ['nearest', '_dbf-rho5-1x_dota']),
        (['test', 'nowhere.py', 'nothing.pth'], ["checkpoint 'nothing.pth' does not exist"]),
        (['analysis_tools/print_freezing_schedule', 'nowhere.py'], ['nowhere.py']),
    ],
)
def test_missing_files_are_one_line(arguments, words, capsys):
    assert rig.call_tool(*arguments) == 2
    said = capsys.readouterr().err
    assert 'Traceback' not in said and all(w in said for w in words)


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


@pytest.mark.parametrize(
    'launcher, needs', [('slurm', 'the environment of srun .SLURM_PROCID'), ('mpi', 'a GPU')]
)
def test_launchers_say_what_they_need(monkeypatch, launcher, needs):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    with pytest.raises(ValueError, match=f"launcher='{launcher}' needs {needs}"):
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
        command = [sys.executable, '-X', 'importtime', str(ROOT / 'tools' / tool), '--help']
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and 'usage' in done.stdout
        assert '| mmdet' not in done.stderr and '| mmrotate' not in done.stderr
