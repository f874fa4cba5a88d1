"""Tools print and draw whatever the terminal and the environment are like."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmbackbone_plugins.lab import console
from mmbackbone_plugins.lab.visualization import backend

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(
    path
    for path in (ROOT / 'tools').rglob('*.py')
    if path.stem not in ('compile_progress', 'command_line')
) + [ROOT / 'mmbackbone_plugins/lab/benchmarking' / n for n in ('single.py', 'report/__main__.py')]


@pytest.mark.parametrize('encoding, shown', [('ascii', b'd\\xe4\\udcff'), ('utf-8', b'd\xc3\xa4')])
def test_what_a_terminal_cannot_show(encoding, shown, monkeypatch):
    """A name of a file in letters that it has not, or in bytes that are no text."""
    inside = io.BytesIO()
    stream = io.TextIOWrapper(inside, encoding=encoding, errors='strict')
    monkeypatch.setattr(sys, 'stdout', stream)
    console.adapt()
    print('d\xe4\udcff', flush=True)
    assert inside.getvalue().startswith(shown)


def test_what_a_user_chose_is_kept(monkeypatch):
    for stream in (io.TextIOWrapper(io.BytesIO(), 'ascii', 'replace'), io.StringIO(), None):
        monkeypatch.setattr(sys, 'stdout', stream)
        console.adapt()
        assert getattr(stream, 'errors', None) in ('replace', None)


@pytest.mark.parametrize('tool', TOOLS, ids=lambda path: path.stem)
def test_every_tool_adapts(tool):
    text = tool.read_text(encoding='utf-8')
    assert 'console.adapt()' in text or 'run_tool(work' in text
    assert text.isascii()  # help comes before it


DRAW = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location('backend', sys.argv[1])
backend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(backend)
plt = backend.pyplot()
figure, axis = plt.subplots()
axis.plot([1, 2])
backend.save(figure, 'x.png')
print(os.environ.get('MPLBACKEND'))
"""
ABSENT = ('nosuchbackend', 'module://nope', 'module://nope.deep.backend_inline')


@pytest.mark.parametrize('name', [*ABSENT, 'TkAgg', 'svg', ''])
def test_backends(name, tmp_path):
    command = [sys.executable, '-c', DRAW, backend.__file__]
    env = {**os.environ, 'MPLBACKEND': name}
    env.pop('DISPLAY', None)
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'x.png').read_bytes().startswith(b'\x89PNG')
    assert done.stdout.strip() == ('None' if name in ABSENT else name)
