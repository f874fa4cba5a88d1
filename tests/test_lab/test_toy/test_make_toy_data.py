"""The command line tool."""

import subprocess
import sys
from pathlib import Path

import pytest
import rig

from mmbackbone_plugins.lab.toy import CLASSES, STYLES, read_manifest

TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'make_toy_data.py'


@pytest.fixture(scope='module')
def tool():
    return rig.load_tool('make_toy_data')


def test_names_in_the_help_are_those_of_the_package(tool):
    assert tool.STYLES == tuple(STYLES)
    assert tool.DOTA == list(CLASSES['dota']) and tool.DIOR == list(CLASSES['dior'])


@pytest.mark.run
def test_help_imports_nothing(tmp_path):
    run = subprocess.run(
        # Isolated and without site-packages: any import beyond the standard library fails.
        [sys.executable, '-I', '-S', str(TOOL), '-h'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0 and '--style' in run.stdout, run.stderr


def test_draws(tool, tmp_path, capsys):
    out = tmp_path / 'toy'
    args = [
        '--out',
        str(out),
        '--images',
        '3',
        '1',
        '1',
        '--size',
        '128',
        '--style',
        'haze',
        'snow',
    ]
    assert tool.main([*args, '--classes', 'ship', 'plane']) == 0
    settings = read_manifest(out)['settings']
    assert settings['styles'] == ['haze', 'snow'] and settings['classes'] == ['ship', 'plane']
    shown = capsys.readouterr().out
    assert '5/5' in shown and 'ETA' in shown and 'train: 3 pictures' in shown
    assert tool.main(args) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and str(out) in error and '--overwrite' in error
    assert tool.main([*args, '--overwrite']) == 0


@pytest.mark.parametrize(
    'args, message',
    [
        (['--format', 'coco'], "argument --format: invalid choice: 'coco'"),
        (['--images', '-1', '0', '0'], "--images['train'] must be a whole number"),
        (['--size', '10'], '--size must be a whole number from 128'),
        (['--style', 'fog'], "--style must be among ['clear'"),
        (['--classes', 'car'], '--classes must be among'),
        (['--density', '-3'], '--density must be above 0'),
        (['--workers', '-3'], '--workers must be a whole number from 0'),
    ],
)
def test_bad_options_exit_with_2_and_one_error(tool, tmp_path, capsys, args, message):
    with pytest.raises(SystemExit) as stop:
        tool.main(['--out', str(tmp_path / 'toy'), *args])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count('error:') == 1
    assert not (tmp_path / 'toy').exists()
