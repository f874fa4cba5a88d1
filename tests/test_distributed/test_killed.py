"""A process of a torchrun job is killed: what is said, what is left, and how the run goes on."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import runs

pytestmark = pytest.mark.slow
STILL = {'train_dataloader.dataset.pipeline.4.prob': 0.0, 'log_level': 'INFO'}
EPOCHS = ('--cfg-options', 'train_cfg.max_epochs=4')


def write(folder, name, data_root, die=None, **options):
    hooks = [dict(type='RankReport', out=str(folder / f'report-{name}'))]
    hooks += [dict(type='Die', **die)] if die else []
    path = runs.write_config(folder / name, 'dbf', data_root, tuple(hooks), **STILL, **options)
    text = path.read_text()
    assert re.search(r"type='mmdet.RandomFlip'", text) and 'prob=0.0' in text
    return path


def left_over(folder):
    """Processes whose command line has the folder in it."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().replace(b'\0', b' ').decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('killed')


@pytest.fixture(scope='module')
def killed(folder, data_root):
    """What the user sees when rank 1 dies in the second epoch."""
    config = write(folder, 'killed', data_root, die=dict(rank=1, iteration=3))
    work_dir = folder / 'work'
    return runs.train(2, config, '--work-dir', work_dir, *EPOCHS, check=False)


def test_the_job_ends_with_what_to_do(killed, folder):
    assert killed.returncode != 0
    out = killed.stdout
    assert out.count('error: rank 0') == 1 and 'error: rank 1' not in out
    assert f'last checkpoint: {folder}/work/epoch_1.pth' in out
    cause = out[out.index('Root Cause') :]
    cause = cause[cause.index('Root Cause (first observed') :]
    assert re.search(r'rank +: 1 ', cause) and 'Signal 9 (SIGKILL)' in cause
    assert not re.search(r'\[rank\d\]: Traceback', out)
    assert left_over(folder) == []


def test_the_command_that_is_given_ends_with_the_bits_of_an_uninterrupted_run(
    killed, folder, data_root
):
    """The config is the killed one without the hook that kills: nobody dies twice."""
    given = re.search(r'to go on: (torchrun .*)', killed.stdout)[1]
    words = shlex.split(given)
    script = words.index(str(runs.ROOT / 'tools' / 'train.py'))
    assert words[1:script] == ['--nproc_per_node', '2'] and words[-1] == '--resume'
    arguments = words[script + 1 :]
    arguments[0] = str(write(folder, 'resumed', data_root))
    done = subprocess.run(
        runs.command(2, Path(words[script]), *arguments),
        env=runs.environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    whole = write(folder, 'whole', data_root)
    runs.train(2, whole, '--work-dir', folder / 'whole-work', *EPOCHS)
    resumed, uninterrupted = (runs.reports(folder / f'report-{n}', 2) for n in ('resumed', 'whole'))
    assert resumed[0]['start'] == 2 and uninterrupted[0]['start'] == 0
    for key in ('weights', 'optimizer', 'end'):
        assert len({report[key] for report in (*resumed, *uninterrupted)}) == 1, key
    trains = uninterrupted[0]['trains']
    trains.pop('0')
    assert resumed[0]['trains'] == trains


def test_killed_while_the_last_checkpoint_is_written_again(folder, data_root):
    """mmengine writes in place: ``last_checkpoint`` names half of a file then."""
    rising = dict(val_evaluator=dict(_delete_=True, type='RisingMetric'))
    die = dict(rank=0, file='epoch_2.pth', time=2)
    config = write(folder, 'torn', data_root, die=die, **rising)
    work_dir = folder / 'torn-work'
    first = runs.train(2, config, '--work-dir', work_dir, *EPOCHS, check=False)
    assert first.returncode != 0
    assert (work_dir / 'last_checkpoint').read_text().endswith('epoch_2.pth')
    torn = (work_dir / 'epoch_2.pth').read_bytes()
    assert 'error: rank 1' in first.stdout
    assert re.search(r'epoch_2\.pth is torn.*\n.*\n *last checkpoint: .*epoch_1.pth', first.stdout)
    config = write(folder, 'mended', data_root, **rising)
    again = runs.train(1, config, '--work-dir', work_dir, '--resume', *EPOCHS)
    assert re.search(r'warning: .*epoch_2\.pth is torn.*Going on from .*epoch_1\.pth', again.stdout)
    (report,) = runs.reports(folder / 'report-mended')
    assert report['start'] == 2 and list(report['trains']) == ['1', '2', '3']
    assert (work_dir / 'epoch_4.pth').exists() and torn


def test_asked_to_end(folder, data_root):
    """As a scheduler does; one process, in the middle of a step."""
    config = write(folder, 'asked', data_root, die=dict(rank=0, iteration=5, by='SIGTERM'))
    done = runs.train(1, config, '--work-dir', folder / 'asked-work', *EPOCHS, check=False)
    assert done.returncode == 128 + 15
    assert 'error: rank 0 was asked to end (SIGTERM)' in done.stdout
    assert f'last checkpoint: {folder}/asked-work/iter_6.pth' in done.stdout
    given = re.search(r'to go on: (.*)', done.stdout)[1]
    assert given.startswith('python ') and given.endswith(' --resume')
    assert 'Traceback' not in done.stdout
