"""The wheel in a fresh environment, outside the checkout: what ``mim`` and the tools do there."""

import json
import os
from importlib.metadata import PackageNotFoundError, version

import pytest

import mmbackbone_plugins
from mmbackbone_plugins import compat

pytestmark = pytest.mark.slow
CONFIG = 'rotated-retinanet_r18_fpn_dbf-rho2_toy-dota'
QUICK = ('--cfg-options', 'train_dataloader.batch_size=2', 'train_cfg.max_epochs=1')
UNVALIDATED = ('val_dataloader=None', 'val_evaluator=None', 'val_cfg=None')
((MMROTATE, _),) = compat.distributions('mmrotate')


def has_mim():
    for name in ('onedl-mim', 'openmim'):
        try:
            return bool(version(name))
        except PackageNotFoundError:
            continue
    return False


needs_mim = pytest.mark.skipif(not has_mim(), reason='mim is not installed')


@pytest.fixture(scope='module')
def work(fresh):
    """The working folder, with a set drawn by the installed tool."""
    tool = next(fresh.site.glob('mmbackbone_plugins/.mim/tools/make_toy_data.py'))
    classes = ('plane', 'ship', 'storage-tank', 'tennis-court', 'roundabout')
    small = ['--images', '4', '2', '0', '--size', '256', '--density', '16']
    fresh.run(tool, '--out', 'data/toy_demo', *small, '--classes', *classes)
    return fresh.work


@pytest.fixture(scope='module')
def trained(fresh, work):
    """What ``mim train`` with the name of a config leaves."""
    name = f'{CONFIG}.py'
    mim = ['-m', 'mim', 'train', 'mmbackbone_plugins', name, '--gpus', '0', '--work-dir', 'named']
    done = fresh.run(*mim, *QUICK, 'default_hooks.checkpoint.interval=1', *UNVALIDATED)
    assert 'Training finished successfully' in done.stdout
    return work / 'named'


def losses(folder):
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [row for row in map(json.loads, path.read_text().splitlines()) if 'loss' in row]


def test_the_environment_has_the_wheel_and_not_the_checkout(fresh):
    shown = fresh.run('-c', 'import mmbackbone_plugins as m; print(m.__file__, m.__version__)')
    file, number = shown.stdout.split()
    assert file == str(fresh.site / 'mmbackbone_plugins' / '__init__.py')
    assert number == mmbackbone_plugins.__version__
    report = fresh.run('-W', 'ignore', '-m', 'mmbackbone_plugins').stdout
    assert 'FreezingSchedulerHook' in report


@needs_mim
def test_mim_trains_a_config_by_its_name(trained, fresh):
    assert (trained / 'epoch_1.pth').is_file()
    assert losses(trained)
    # The config that ran is the installed one; the log says so.
    (log,) = trained.glob('*/*.log')
    assert 'FreezingSchedulerHook' in log.read_text()


@needs_mim
def test_mim_tests_the_checkpoint(trained, fresh, work):
    checkpoint = ['--checkpoint', trained / 'epoch_1.pth']
    mim = ['-m', 'mim', 'test', 'mmbackbone_plugins', f'{CONFIG}.py', *checkpoint, '--gpus', '0']
    done = fresh.run(*mim, '--work-dir', 'tested', '--out', 'found.pkl')
    assert 'Testing finished successfully' in done.stdout
    (scores,) = (work / 'tested').glob('*/*.json')
    assert 'dota/mAP' in json.loads(scores.read_text())
    assert (work / 'found.pkl').stat().st_size > 0


@needs_mim
def test_mim_trains_with_the_tools_of_mmrotate(fresh, work):
    """A config of this package under another package's train.py: one line imports the hooks."""
    config = fresh.site / 'mmbackbone_plugins' / '.mim' / 'configs' / 'demo' / f'{CONFIG}.py'
    mim = ['-m', 'mim', 'train', MMROTATE, config, '--gpus', '0', '--work-dir', 'mmrotate']
    done = fresh.run(*mim, *QUICK, 'default_hooks.checkpoint.interval=1', *UNVALIDATED)
    assert 'Training finished successfully' in done.stdout
    rows = losses(work / 'mmrotate')
    assert rows and rows[-1]['freezing/trainable_ratio'] == 1.0


@needs_mim
def test_mim_searches_a_grid_of_rho(fresh, work):
    mim = ['-m', 'mim', 'gridsearch', 'mmbackbone_plugins', f'{CONFIG}.py', '--gpus', '0']
    search = ['--search-args', '--custom_hooks.0.schedule.rho 1 2', '--work-dir', 'grid']
    epochs = 'train_cfg.max_epochs=2'
    done = fresh.run(*mim, *search, *QUICK, epochs, 'default_hooks.logger.interval=1', *UNVALIDATED)
    assert 'finished successfully' in done.stdout
    trained = {}
    for rho in (1, 2):
        rows = losses(work / f'grid_search_custom_hooks.0.schedule.rho_{rho}')
        trained[rho] = [row['freezing/trainable_ratio'] for row in rows]
    assert set(trained[1]) == {1.0} and trained[2][0] == 1.0 > trained[2][-1]


@needs_mim
def test_mim_searches_the_index(fresh):
    name = 'rotated-retinanet-rbox-le90_r50_fpn_dbf-rho10-1x_dota'
    done = fresh.run('-m', 'mim', 'search', 'mmbackbone_plugins', '--config', name)
    assert f'config id: {name}' in done.stdout and 'dynamic backbone freezing' in done.stdout


def test_the_tools_take_names_and_are_executable(fresh, work):
    tools = fresh.site / 'mmbackbone_plugins' / '.mim' / 'tools'
    for script in ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'):
        assert os.access(tools / script, os.X_OK)
    shown = fresh.run(tools / 'analysis_tools' / 'print_freezing_schedule.py', CONFIG, '--no-flops')
    assert 'stage1  #.#.#.#.#.' in shown.stdout
