"""What is refused: a too old, a doubled or a missing family, and mmcv without operators."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmbackbone_plugins import compat

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))
# Enough arguments that a tool gets to its work.
ARGUMENTS = {
    'test.py': ['CONFIG', 'checkpoint.pth'],
    'analyze_eigenspectrum.py': ['CONFIG'],
    'determine_widths.py': ['CONFIG', 'checkpoint.pth', '-o', 'new.py'],
    'show_cost.py': ['.'],
    'plot_logs.py': ['.', '-o', 'curves.png'],
    'make_toy_data.py': ['--out', 'toy', '--images', '1', '0', '0'],
    'demo.py': [],
    'efficientnet_lite.py': ['lite0', '--out', 'lite0.pth'],
    'list_families.py': [],
    'interpolate_weights.py': ['a.pth', 'b.pth', '--weight', '0.5', '-o', 'c.pth'],
    'check_distributed.py': [],
    'test_robustness.py': ['CONFIG', 'checkpoint.pth'],
    'test_transfer.py': ['CONFIG', 'checkpoint.pth', '--to', 'dior', '--data-root', '.'],
    'class_balanced_loss.py': ['CONFIG', '--out', 'new.py'],
}
NO_TOOLS = {'compile_progress.py', 'command_line.py'}  # part of the set-up, and of the tools
NAME = 'rotated-retinanet-rbox-le90_r50_fpn_dbf-rho10-1x_dota'


def fake_distributions(folder, **versions):
    """A folder with the metadata of distributions that are not there."""
    for name, version in versions.items():
        name = name.replace('_', '-')
        info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    return folder


def run(*arguments, path=(), cwd=None):
    search = os.pathsep.join(map(str, [*path, ROOT]))
    environment = dict(os.environ, PYTHONPATH=search, OMP_NUM_THREADS='1')
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    pipes = dict(capture_output=True, text=True, timeout=300)
    return subprocess.run(command, env=environment, cwd=cwd, **pipes)


def one_line(done):
    """The message, if it is the only thing that was said."""
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith('error: ')]
    assert done.stderr.splitlines()[-1] == line
    return line


def other_family():
    """The names that are not installed here, with good versions."""
    have = {dist for name in compat._FAMILIES for dist, _ in compat.distributions(name)}
    pairs = [pair for families in compat._FAMILIES.values() for pair in families]
    return {dist: oldest for dist, oldest in pairs if dist not in have}


def test_one_family_passes():
    compat.check_versions()
    compat.check_operators()


def test_both_families_are_refused_with_the_way_out(monkeypatch):
    versions = {'onedl-mmengine': '0.10.12', 'onedl-mmdetection': '3.5.1', 'mmdet': '3.3.0'}
    monkeypatch.setattr(compat, '_installed', versions.get)
    with pytest.raises(ImportError) as error:
        compat.check_versions()
    message = str(error.value)
    assert 'onedl-mmdetection 3.5.1, mmdet 3.3.0' in message and 'mmengine' not in message
    assert message.endswith('pip uninstall -y onedl-mmdetection mmdet')


@pytest.mark.parametrize(
    'versions, words',
    [
        ({}, 'needs mmengine, and none is installed'),
        ({'mmengine': '0.9.1'}, 'needs mmengine>=0.10.7, but 0.9.1 is installed'),
        ({'mmengine': '0.10.7', 'mmdet': '2.28.2'}, 'mmdet>=3.0.0, but 2.28.2'),
    ],
)
def test_missing_or_old_is_refused(monkeypatch, versions, words):
    monkeypatch.setattr(compat, '_installed', versions.get)
    with pytest.raises(ImportError, match=words):
        compat.check_versions()


def test_the_import_refuses_and_the_report_comes_all_the_same(tmp_path):
    """As a user meets it: metadata of the other family on the path, beside the one that is here."""
    folder = fake_distributions(tmp_path, **other_family())
    imported = run('-c', 'import mmbackbone_plugins', path=[folder])
    assert imported.returncode == 1 and 'pip uninstall -y' in imported.stderr
    assert imported.stderr.splitlines()[-1].startswith('ImportError: both families')
    report = run('-m', 'mmbackbone_plugins', path=[folder])
    assert 'pip uninstall -y' in one_line(report)
    rows = dict(line.split(maxsplit=1) for line in report.stdout.splitlines())
    assert rows['mmdet'].endswith('both families: uninstall one')
    assert {'Python', 'torch', 'mmengine', 'mmcv', 'mmbackbone_plugins'} <= set(rows)
    assert "mmcv's operators" in report.stdout and 'hook' not in rows


# One process for all of them: a failed import is tried anew.
EVERY_TOOL = """
import contextlib, io, json, runpy, sys
for path, *arguments in json.loads(sys.argv[1]):
    sys.argv, said, code = [path, *arguments], io.StringIO(), 0
    with contextlib.redirect_stderr(said):
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as end:
            code = end.code
    print('TOLD', json.dumps([path, code, said.getvalue()]))
"""


def test_every_tool_says_it_in_one_line(tmp_path):
    folder = fake_distributions(tmp_path / 'path', **other_family())
    tools = [tool for tool in TOOLS if tool.name not in NO_TOOLS]
    calls = [[str(tool), *ARGUMENTS.get(tool.name, ['CONFIG'])] for tool in tools]
    calls = [[word.replace('CONFIG', NAME) for word in call] for call in calls]
    done = run('-c', EVERY_TOOL, json.dumps(calls), path=[folder], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads(t[4:]) for t in done.stdout.splitlines() if t.startswith('TOLD')]
    assert len(told) == len(tools)
    for path, code, said in told:
        (line,) = [text for text in said.splitlines() if text.startswith('error: ')]
        assert code == 2 and 'Traceback' not in said, path
        assert said.splitlines()[-1] == line and 'both families are installed' in line, path


NO_OPERATORS = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ModuleNotFoundError("No module named 'mmcv._ext'", name=name)
sys.meta_path.insert(0, Missing())
"""


def test_mmcv_without_operators_is_one_line(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(NO_OPERATORS)
    ((dist, have),) = compat.distributions('mmcv')
    done = run(ROOT / 'tools' / 'train.py', NAME, path=[tmp_path], cwd=tmp_path)
    message = one_line(done)
    assert "compiled operators cannot be loaded (No module named 'mmcv._ext')" in message
    assert '--no-build-isolation' in message and f"'{dist}=={have}'" in message
    assert not list(tmp_path.glob('work_dirs'))
    # The package itself does not need them, and says so.
    report = run('-m', 'mmbackbone_plugins', path=[tmp_path])
    assert report.returncode == 0 and "mmcv's operators    do not work" in report.stdout


def test_what_mmcv_itself_lacks_is_not_blamed_on_the_operators(monkeypatch):
    def missing(name):
        raise ImportError('libGL.so.1: cannot open shared object file')

    monkeypatch.setattr(compat.importlib, 'import_module', missing)
    with pytest.raises(ImportError, match='^libGL.so.1: cannot open shared object file$'):
        compat.check_operators()


def test_operators_of_another_torch(monkeypatch):
    def load(name):
        if name == 'mmcv._ext':
            raise ImportError('undefined symbol: _ZN3c10', name='mmcv._ext')

    monkeypatch.setattr(compat.importlib, 'import_module', load)
    monkeypatch.setattr(compat, '_installed', {'mmcv': '2.0.1'}.get)
    with pytest.raises(ImportError) as error:
        compat.check_operators()
    message = str(error.value)
    assert 'undefined symbol: _ZN3c10' in message and "--no-binary mmcv 'mmcv==2.0.1'" in message


def test_no_mmcv_at_all_is_for_mmdet_to_say(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'mmcv'", name='mmcv')

    monkeypatch.setattr(compat.importlib, 'import_module', missing)
    compat.check_operators()
