"""The set-up script and the `.mim` folder: what can be checked without building an environment."""

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem + '_under_test', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup_py():
    return load(ROOT / 'setup.py')


@pytest.fixture
def progress_py():
    return load(ROOT / 'tools/misc/compile_progress.py')


def run_setup(tmp_path, **env):
    return subprocess.run(
        ['bash', str(ROOT / 'tools/setup_env.sh')],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize('link', [True, False])
def test_mim_folder(setup_py, tmp_path, monkeypatch, link):
    (tmp_path / 'configs/dbf').mkdir(parents=True)
    (tmp_path / 'configs/dbf/a.py').write_text('x = 1\n')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text('')
    (tmp_path / 'tools/setup_env.sh').write_text('')
    monkeypatch.setattr(setup_py, 'ROOT', tmp_path)
    package = tmp_path / 'mmbackbone_plugins'

    for _ in range(2):  # again over what is there, links or copies
        setup_py.fill_mim(package, link=not link)
        setup_py.fill_mim(package, link=link)

    mim = package / '.mim'
    assert (mim / 'configs/dbf/a.py').read_text() == 'x = 1\n'
    assert not (mim / 'model-index.yml').exists()  # there is none to take
    if link:
        assert os.readlink(mim / 'configs') == os.path.join('..', '..', 'configs')
    else:
        assert not (mim / 'configs').is_symlink()
        assert not (mim / 'tools/setup_env.sh').exists()
    assert (tmp_path / 'tools/setup_env.sh').exists()  # the originals are never touched


def test_compile_progress_prints_every_tenth(progress_py):
    stream = io.StringIO()
    progress = progress_py.Progress('ops:', stream, tty=False, start=0.0)
    for step in range(1, 101):
        progress.feed('unrelated [3/4] text\n', now=0.0)
        progress.feed(f'  [{step}/100] c++ -MMD -c file.cpp\n', now=float(step))
    progress.close(ok=True, seconds=100)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 12  # the first, every tenth, the end
    assert lines[5] == 'ops:  50 % (50/100 files), 0:50 left'
    assert lines[-1] == 'ops: compiled, 100 s'


def test_compile_jobs_are_bounded_by_memory(progress_py):
    assert progress_py.job_count(bytes_per_job=progress_py.memory_bytes()) == 1
    assert progress_py.job_count(bytes_per_job=1e30) == 1
    assert progress_py.job_count() >= 1


def test_compile_progress_passes_the_status_on(tmp_path):
    log = tmp_path / 'log'
    command = [sys.executable, str(ROOT / 'tools/misc/compile_progress.py'), '--log', str(log)]
    child = [sys.executable, '-c', 'print("seen"); raise SystemExit(3)']
    done = subprocess.run([*command, '--', *child], capture_output=True, text=True)
    assert done.returncode == 3
    assert 'failed' in done.stdout
    assert 'seen' in log.read_text()


needs_bash = pytest.mark.skipif(shutil.which('bash') is None, reason='bash is not installed')


@needs_bash
@pytest.mark.parametrize('script', ['tools/setup_env.sh', '.ci/run'])
def test_scripts_parse_and_run(script):
    assert subprocess.run(['bash', '-n', str(ROOT / script)]).returncode == 0
    assert os.access(ROOT / script, os.X_OK)


def test_everything_that_compiles_asks_for_optimisation():
    """With newer setuptools CFLAGS takes the place of Python's own flags, -O3 among them."""
    places = ['tools/setup_env.sh', 'README.md', '.ci/run', 'Makefile']
    places += [str(path.relative_to(ROOT)) for path in sorted((ROOT / 'docs').rglob('*.md'))]
    found = {}
    for place in places:
        text = (ROOT / place).read_text()
        found[place] = re.findall(r'CFLAGS=("[^"\n]*"|\S+) (?=MMCV|PATH)', text)
    assert {place for place, flags in found.items() if flags} == {
        *('tools/setup_env.sh', 'docs/install.md', 'docs/howto/openmmlab.md')
    }
    for flags in sum(found.values(), []):
        assert flags.strip('"').endswith('-g0 -O2 -DNDEBUG')


FAKE_PYTHON = """#!/usr/bin/env bash
# Stands for Python, and for pip and the compiler in its environment; writes down what is asked.
case "$*" in
  -c*ensurepip*) echo VERSION ;;
  -c*_base_executable*) echo "$0" ;;
  -c*LOCK_NB*) echo 4 ;;
  -c*version_info*) echo VERSION ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  '- '*) cat >/dev/null; exit "$(cat STATE)" ;;  # the check of the operators
  tools/misc/compile_progress.py*)
    echo "$CFLAGS|$*" >>BUILDS
    mkdir -p "$VENV/wheels" && touch "$VENV/wheels/onedl_mmcv-1.whl" "$VENV/wheels/mmcv-1.whl"
    case "CACHED $*" in 0*|*--no-cache-dir*) echo AFTER >STATE ;; esac ;;
esac
"""


@needs_bash
@pytest.mark.parametrize('family', ['onedl', 'openmmlab'])
@pytest.mark.parametrize(
    ('before', 'cached', 'after', 'builds'),
    [
        (0, 0, 0, 0),  # good operators are there
        (1, 0, 0, 1),  # none are
        (3, 0, 0, 1),  # slow ones are
        (3, 1, 0, 2),  # and pip's cache has a slow wheel
        (3, 1, 3, 2),  # a compiler that always leaves them slow: they work
        (1, 1, 1, 2),
    ],
)
def test_set_up_compiles_again_what_is_slow(tmp_path, family, before, cached, after, builds):
    state, record = tmp_path / 'state', tmp_path / 'builds'
    state.write_text(str(before))
    record.write_text('')
    python = tmp_path / 'python'
    words = dict(VERSION={'onedl': '3.11', 'openmmlab': '3.9'}[family], STATE=str(state))
    words.update(BUILDS=str(record), CACHED=str(cached), AFTER=str(after))
    text = FAKE_PYTHON
    for word, value in words.items():
        text = re.sub(rf'\b{word}\b', value, text)
    python.write_text(text)
    python.chmod(0o755)
    env = dict(
        FAMILY=family, VENV=str(tmp_path / 'env'), PYTHON=str(python), CFLAGS='-march=native'
    )
    done = run_setup(tmp_path, **env)
    assert done.returncode == (1 if after == 1 else 0), done.stdout + done.stderr
    lines = record.read_text().splitlines()
    assert len(lines) == builds
    assert all(line.startswith('-march=native -g0 -O2 -DNDEBUG|') for line in lines)
    assert ['--no-cache-dir' in line for line in lines] == [False, True][:builds]
    assert ('warning: the operators work' in done.stdout) == (after == 3)
    assert (tmp_path / 'env/.stamp').exists() == (after != 1)


@needs_bash
def test_set_up_refuses_a_folder_it_did_not_make(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    done = run_setup(tmp_path, VENV=str(tmp_path), PYTHON='')
    assert done.returncode == 1
    assert 'was not made by this script' in done.stderr or '3.12' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


@needs_bash
def test_set_up_names_the_pythons_it_takes(tmp_path):
    wrong = tmp_path / 'python3.13'
    wrong.write_text('#!/bin/sh\necho; echo "this is Python 3.13"; exit 1\n')
    wrong.chmod(0o755)
    done = run_setup(tmp_path, VENV=str(tmp_path / 'env'), PYTHON=str(wrong))
    assert done.returncode == 1
    assert 'this is Python 3.13; Python 3.10, 3.11 or 3.12 is needed' in done.stderr
    assert not (tmp_path / 'env').exists()


@pytest.fixture
def no_pythons(tmp_path):
    """A PATH with what the script needs and no interpreter, and a home without any."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('bash', 'cat', 'cksum', 'dirname', 'grep', 'sed', 'tail', 'tr', 'make'):
        if shutil.which(name):
            (folder / name).symlink_to(shutil.which(name))
    return dict(PATH=str(folder), HOME=str(tmp_path), PYENV_ROOT=str(tmp_path), PYTHON='')


@needs_bash
@pytest.mark.parametrize(('family', 'status'), [('onedl', 1), ('openmmlab', 77)])
def test_set_up_without_a_python_says_so(tmp_path, no_pythons, family, status):
    done = run_setup(tmp_path, FAMILY=family, VENV=str(tmp_path / 'env'), **no_pythons)
    assert done.returncode == status, done.stderr
    wanted = {'onedl': '3.10, 3.11 or 3.12', 'openmmlab': '3.9'}[family]
    assert f'no Python {wanted} was found' in done.stderr
    assert not (tmp_path / 'env').exists()


@needs_bash
@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
@pytest.mark.parametrize(('python', 'status'), [('', 0), ('/bin/false', 2)])
def test_the_other_family_is_skipped_without_a_python_and_red_otherwise(
    tmp_path, no_pythons, python, status
):
    done = subprocess.run(
        ['make', 'test-openmmlab', f'VENV_OPENMMLAB={tmp_path / "env"}', f'PYTHON39={python}'],
        env={**os.environ, **no_pythons},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert ('skipped: ' in done.stdout) == (status == 0)


def test_an_unknown_family_is_one_line(tmp_path):
    done = run_setup(tmp_path, FAMILY='mmlab')
    assert done.returncode == 1 and done.stderr == 'FAMILY=mmlab: it is onedl or openmmlab\n'
