"""``python -m mmbackbone_plugins``: what a bug report starts with."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest

import mmbackbone_plugins
from mmbackbone_plugins import __main__ as report
from mmbackbone_plugins import compat


@pytest.mark.run
def test_the_report_as_a_user_gets_it():
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'mmbackbone_plugins'],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("mmcv's")]
    rows = dict(line.split(maxsplit=1) for line in lines)
    assert rows['mmbackbone_plugins'] == mmbackbone_plugins.__version__
    assert rows['torch'] == version('torch')
    for name in ('mmengine', 'mmcv', 'mmdet', 'mmrotate'):
        ((dist, have),) = compat.distributions(name)
        assert rows[name].startswith(have) and dist in (name, *rows[name].strip('()').split('('))
    assert 'FreezingSchedulerHook' in rows['hook'] and 'WidthResNet' in rows['model']
    assert rows['metric'] == 'OrientedMetric' and rows['transform'] == 'Corruption'
    assert 'StepFreezing' in rows['freezing_schedule']
    assert "mmcv's operators" in done.stdout and 'work on the CPU' in done.stdout


def test_every_public_class_of_a_registry_is_listed():
    found = report.registered()
    for registry, suffix in (('hook', 'Hook'), ('freezing_schedule', ('Freezing', 'Training'))):
        public = [n for n in mmbackbone_plugins.__all__ if n.endswith(suffix)]
        assert public and set(public) <= set(found[registry])


def test_both_families_are_said(monkeypatch):
    monkeypatch.setattr(compat, '_installed', lambda distribution: '1.0')
    assert report.installed('mmdet') == (
        '1.0 (onedl-mmdetection), 1.0 - both families: uninstall one'
    )
    monkeypatch.setattr(compat, '_installed', lambda distribution: None)
    assert report.installed('mmdet') == 'not installed'


@pytest.mark.skipif(shutil.which('c++') is None, reason='a C++ compiler is not installed')
@pytest.mark.parametrize(('flags', 'slow'), [('-g0', True), ('-g0 -O2 -DNDEBUG', False)])
def test_operators_without_optimisation_are_said(flags, slow, tmp_path, monkeypatch):
    source, built = tmp_path / 'ops.cpp', tmp_path / 'ops.so'
    source.write_text(
        '#include <string>\n#include <vector>\nint f(std::vector<std::string> v) {'
        'v.emplace_back(std::string("x")); return v.size(); }'
    )
    compiler = ['c++', *flags.split(), '-fPIC', '-shared', str(source), '-o', str(built)]
    subprocess.run(compiler, check=True)
    assert not compat.operators_lack_optimisation()  # of the mmcv that is here
    monkeypatch.setattr(sys.modules['mmcv._ext'], '__file__', str(built))
    assert compat.operators_lack_optimisation() == slow
    assert ('without optimisation' in report.compiled_operators()) == slow
    built.write_bytes(built.read_bytes() + b'libcudart.so.13')
    assert not compat.operators_lack_optimisation()


def test_operators_that_do_not_work_are_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv.ops', None)
    assert report.compiled_operators().startswith('do not work: ')
