"""Runs that fail: the last thing on the screen is one line that says why."""

import builtins
from pathlib import Path

import pytest
import rig
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, TRANSFORMS

from mmbackbone_plugins.lab import failures


def unknown(registry, name):
    with pytest.raises(KeyError) as error:
        registry.build(dict(type=name))
    return error.value


@pytest.mark.parametrize(
    'error, line',
    [
        (ValueError('rho must be whole'), 'rho must be whole'),
        (ValueError('one\n  two\n\nthree'), 'one; two; three'),
        (FileNotFoundError(2, 'No such file', 'a.pth'), "[Errno 2] No such file: 'a.pth'"),
        (KeyError('boat'), 'KeyError: boat'),
        (KeyError(), 'KeyError'),
        (AssertionError(), 'AssertionError'),
        (RuntimeError('x\n\ty'), 'RuntimeError: x; y'),
    ],
)
def test_a_reason_is_one_line(error, line):
    assert failures.reason(error) == line


def test_a_reason_has_an_end():
    assert len(failures.reason(RuntimeError('missing key ' * 10000))) < 2000


@pytest.mark.parametrize(
    'registry, name, near',
    [
        (MODELS, 'StageBlockBackbon', 'StageBlockBackbone'),
        (HOOKS, 'FreezingScheduleHook', 'FreezingSchedulerHook'),
        (TRANSFORMS, 'Corruptions', 'Corruption'),
    ],
)
def test_names_that_mmengine_does_not_know(registry, name, near):
    """Case 20: any registry of its, not that of hooks alone."""
    line = failures.reason(unknown(registry, name))
    assert line.startswith(f'{name} is not in the ') and line.endswith(f'; nearest: {near}')


@HOOKS.register_module(force=True)
class Fails(Hook):
    """Raises at a place, and keeps away from all others."""

    priority = 'LOW'

    def __init__(self, place, kind, text) -> None:
        def fail(runner, *_, **__) -> None:
            if place == 'before_train' or runner.iter == 2:
                raise getattr(builtins, kind)(text)

        setattr(self, place, fail)


def fail(tmp_path, capsys, place, kind, text):
    recorded = []
    hook = dict(type='Fails', place=place, kind=kind, text=text)
    with pytest.raises(SystemExit) as end:
        with failures.told(recorded.append) as told:
            runner = told(rig.runner(tmp_path, [hook], length=4))
            runner.train()
    said = capsys.readouterr().err
    (log,) = tmp_path.glob('*/*.log')
    assert 'Traceback' in log.read_text() and f'{kind}: ' in log.read_text()
    *_, last = said.splitlines()
    assert last == f'error: {recorded[0]}'
    return end.value.code, said, recorded[0]


def test_before_the_first_step_the_traceback_is_in_the_log_alone(tmp_path, capsys):
    """Case 20."""
    status, said, line = fail(tmp_path, capsys, 'before_train', 'ValueError', 'no such file')
    assert (status, line) == (2, 'no such file') and 'Traceback' not in said
    before_last = said.splitlines()[-2]
    assert before_last.startswith('traceback: ') and Path(before_last[11:]).is_file()


def test_later_the_line_says_how_far_the_run_had_come(tmp_path, capsys):
    status, said, line = fail(tmp_path, capsys, 'after_train_iter', 'KeyError', 'boat')
    assert (status, line) == (1, 'epoch 2, iteration 3: KeyError: boat') and 'Traceback' in said


def test_a_config_that_no_runner_can_be_built_of(monkeypatch, capsys):
    """Case 20."""
    monkeypatch.setattr(failures, '_into_log_file', lambda text: None)
    for error, shown in ((ValueError('no loop'), False), (TypeError('no loop'), True)):
        with pytest.raises(SystemExit, match='2'), failures.told():
            raise error
        said = capsys.readouterr().err
        assert (
            ('Traceback' in said) == shown
            and said.endswith('no loop\n')
            and said.splitlines()[-1].startswith('error: ')
        )


def test_what_ends_a_run_on_purpose_passes(capsys):
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error), failures.told():
            raise error
    assert not capsys.readouterr().err
