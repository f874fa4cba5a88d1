"""What ``python -m build`` and pip make of a clone."""

import os
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaged import Environment, call, pip_wheel

pytestmark = pytest.mark.slow
PACKAGE = 'mmbackbone_plugins'
CLONE_ONLY = {'tools/setup_env.sh', 'tools/misc/compile_progress.py'}


def shipped_by(tree):
    """What has to be under ``.mim``, with its content, by path."""
    files = [tree / 'model-index.yml']
    files += [p for name in ('configs', 'tools') for p in (tree / name).rglob('*') if p.is_file()]
    found = {path.relative_to(tree).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if name not in CLONE_ONLY}


def contents(archive):
    """Content by path; an sdist's paths without its top folder."""
    if archive.suffix == '.whl':
        with zipfile.ZipFile(archive) as file:
            return {name: file.read(name) for name in file.namelist() if not name.endswith('/')}
    with tarfile.open(archive) as file:
        members = [m for m in file.getmembers() if m.isfile()]
        return {m.name.split('/', 1)[1]: file.extractfile(m).read() for m in members}


def under(folder, files):
    return {n[len(folder) + 1 :]: files[n] for n in files if n.startswith(f'{folder}/')}


def dist_info(files):
    return next(name.split('/')[0] for name in files if '.dist-info/' in name)


@pytest.fixture(scope='module')
def sdist(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sdist')
    script = 'import sys; from setuptools import build_meta as b; b.build_sdist(sys.argv[1])'
    call(sys.executable, '-c', script, folder, cwd=tree)
    (found,) = folder.glob('*.tar.gz')
    return found


def test_every_way_carries_the_same(tree, wheel, sdist, tmp_path):
    expected = shipped_by(tree)
    assert {'model-index.yml', 'tools/train.py', 'tools/dist_train.sh'} <= set(expected)
    assert len([name for name in expected if name.endswith('metafile.yml')]) > 10
    in_sdist = contents(sdist)
    assert under(f'{PACKAGE}/.mim', in_sdist) == expected
    again = contents(pip_wheel(sdist, tmp_path))
    files = contents(wheel)
    for found in (files, again):
        assert under(f'{PACKAGE}/.mim', found) == expected
        assert under(f'{dist_info(found)}/.mim', found) == expected
    assert set(files) == set(again)
    # Templates and py.typed too: every file of the package.
    package = (ROOT / PACKAGE).rglob('*')
    ours = {path.relative_to(ROOT).as_posix() for path in package if path.is_file()}
    ours = {name for name in ours if '.mim' not in name and '__pycache__' not in name}
    assert f'{PACKAGE}/py.typed' in ours and ours <= set(files)
    tops = {name.split('/')[0] for name in files}
    assert tops == {PACKAGE, dist_info(files)}
    assert not any(name.startswith('tests') for name in in_sdist)


def test_a_wheel_asks_for_neither_family(wheel):
    files = contents(wheel)
    metadata = Parser().parsestr(files[f'{dist_info(files)}/METADATA'].decode())
    always = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
    assert sorted(always) == ['numpy', 'torch']
    extras = set(metadata.get_all('Provides-Extra'))
    assert {'onedl', 'openmmlab'} <= extras
    families = {name: set() for name in extras}
    for line in set(metadata.get_all('Requires-Dist')) - set(always):
        needed, _, extra = line.partition('extra ==')
        families[extra.strip(' "\'')].add(needed.startswith('onedl-'))
    assert families['onedl'] == {True} and families['openmmlab'] == {False}
    assert metadata['Requires-Python'] == '>=3.9' and metadata['Name'] == PACKAGE


def test_python_m_build_leaves_a_clone_as_it_was(tree, wheel, tmp_path):
    """The command itself; without isolation, which would fetch setuptools."""
    pytest.importorskip('build.__main__')
    clone = tmp_path / 'clone'
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', '-C', clone]
    call('cp', '-r', tree, clone)
    for leftover in ('build', f'{PACKAGE}.egg-info'):
        call('rm', '-rf', clone / leftover)
    call('git', 'init', '-q', clone)
    call(*git, 'add', '-A')
    call(*git, 'commit', '-qm', 'all')
    build = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', tmp_path / 'dist', clone]
    call(*build, cwd=tmp_path)
    assert call(*git, 'status', '--short').stdout == ''
    assert not (clone / PACKAGE / '.mim').exists()
    (made,) = (tmp_path / 'dist').glob('*.whl')
    assert contents(made).keys() == contents(wheel).keys()
    assert list((tmp_path / 'dist').glob('*.tar.gz'))


def test_an_editable_install_links_to_the_originals(tree, tmp_path):
    """Current pip runs ``editable_wheel``, which is not ``develop``."""
    environment = Environment(tmp_path / 'venv', tmp_path)
    environment.see_the_stack()  # setuptools builds in the environment itself
    environment.install('--ignore-installed', '--no-build-isolation', '-e', tree)
    mim = tree / PACKAGE / '.mim'
    try:
        for name in ('configs', 'tools', 'model-index.yml'):
            assert os.readlink(mim / name) == os.path.join('..', '..', name)
        where = f'from importlib.util import find_spec as f; print(f({PACKAGE!r}).origin)'
        origin = Path(environment.run('-c', where).stdout.strip())
        assert origin == tree / PACKAGE / '__init__.py'
        assert not list(environment.site.glob('*.dist-info/.mim'))  # it would go stale
    finally:
        for name in ('configs', 'tools', 'model-index.yml'):
            (mim / name).unlink()
        mim.rmdir()
