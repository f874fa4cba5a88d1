"""Configs by name: those of the zoo, from anywhere, and the nearest where there is none."""

from pathlib import Path

import pytest

from mmbackbone_plugins.lab import zoo

ROOT = Path(__file__).resolve().parents[2]
NAME = 'rotated-retinanet-rbox-le90_r50_fpn_dbf-rho10-1x_dota'


def test_names_are_those_of_the_files_and_each_is_there_once():
    shipped = zoo.shipped_configs()
    expected = {p.relative_to(ROOT / 'configs') for p in (ROOT / 'configs').rglob('*.py')}
    assert set(shipped) == {p.as_posix() for p in expected if '_base_' not in p.parts}
    stems = [path.stem for path in shipped.values()]
    assert len(stems) == len(set(stems)) > 200


@pytest.mark.parametrize('start', ['', 'dbf/', 'configs/dbf/'])
@pytest.mark.parametrize('suffix', ['', '.py'])
def test_a_name_is_found_from_any_folder(tmp_path, monkeypatch, start, suffix):
    monkeypatch.chdir(tmp_path)
    found = Path(zoo.find_config(f'{start}{NAME}{suffix}'))
    assert found.resolve() == ROOT / 'configs' / 'dbf' / f'{NAME}.py'


def test_a_file_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f'{NAME}.py').write_text('x = 1\n')
    assert zoo.find_config(f'{NAME}.py') == f'{NAME}.py'


@pytest.mark.parametrize('path', [f'mine/{NAME}.py', f'/nowhere/{NAME}.py', f'../{NAME}.py'])
def test_a_mistyped_path_does_not_become_the_original(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        zoo.find_config(path)
    assert path in str(error.value) and NAME in str(error.value)


@pytest.mark.parametrize(
    'typed, meant',
    [
        (NAME.replace('rho10', 'rho7'), NAME),
        (NAME.replace('-', '_'), NAME),
        ('configs/dbf/oriented-rcnn_dbf.py', 'oriented-rcnn-le90_r50_fpn_dbf-rho5-1x_dota'),
    ],
)
def test_the_nearest_are_named(typed, meant):
    with pytest.raises(FileNotFoundError, match='; nearest: ') as error:
        zoo.find_config(typed)
    assert str(error.value).startswith(f'config {typed!r} does not exist')
    near = str(error.value).rsplit(': ', 1)[1].split(', ')
    assert meant in near and len(near) <= 3


def test_a_name_that_is_like_none_gets_no_suggestion():
    with pytest.raises(FileNotFoundError, match="^config 'nowhere.py' does not exist$"):
        zoo.find_config('nowhere.py')
