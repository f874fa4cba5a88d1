"""What the files at the top of the repository say of it, and of each other."""

import re
from pathlib import Path

import pytest
import yaml

from mmbackbone_plugins import __version__, compat

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
PAGES = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), *(ROOT / '.github').rglob('*.md')]


def text(path):
    return (ROOT / path).read_text(encoding='utf-8')


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r'^([a-z-]+):', text('Makefile'), re.M))
    named = {
        target
        for path in [*WORKFLOWS, *PAGES, ROOT / '.ci/run']
        for line in re.findall(r'(?:`|run: |^)make ((?:[a-z-]+ ?)+)', text(path), re.M)
        for target in line.split()
    }
    assert {'check', 'test', 'docs', 'dist', 'check-openmmlab'} <= named <= targets


def test_what_the_table_of_tiers_names_is_there(pytestconfig):
    conftest = pytestconfig.pluginmanager.get_plugin(str(ROOT / 'tests/conftest.py'))
    for name in conftest._BY_NAME:
        assert len(list((ROOT / 'tests').rglob(name))) == 1, name


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load(text('CITATION.cff'))
    numbers = re.findall(r'^## \[(\d\S+)\] - (\S+)$', text('CHANGELOG.md'), re.M)
    assert numbers[0] == (__version__, str(citation['date-released']))
    assert citation['version'] == __version__


def test_the_address_of_the_repository_stands_in_one_place():
    for path in [*PAGES, *WORKFLOWS, ROOT / 'CITATION.cff', ROOT / 'mkdocs.yml']:
        assert not re.search(r'\bREPOSITORY\b|github\.com/OWNER', text(path)), path
    assert 'Repository = "https://' in text('pyproject.toml')


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_and_name_versions_of_actions(path):
    workflow = yaml.safe_load(text(path))
    assert workflow['permissions'] == {'contents': 'read'}
    for job in workflow['jobs'].values():
        assert job.get('permissions', {}).get('contents', 'read') == 'read'
        for step in job['steps']:
            assert re.search(r'@(v|release/v)\d+$', step.get('uses', '@v1')), step


@pytest.mark.parametrize(
    ('file', 'extras'),
    [
        ('tested', ('onedl', 'mmpretrain', 'mmseg', 'weights', 'robustness', 'docs', 'dev')),
        ('tested-openmmlab', ('openmmlab', 'dev')),
    ],
)
def test_tested_versions_lie_in_the_ranges_users_get(file, extras):
    requirement = pytest.importorskip('packaging.requirements').Requirement
    tested = {}
    for line in requirements(file):
        name, version = line.split('==')
        tested[name] = version
    for extra in extras:
        for line in requirements(extra):
            wanted = requirement(line)
            if extra != 'dev':
                assert wanted.name in tested
            if wanted.name in tested:
                assert wanted.specifier.contains(tested[wanted.name], prereleases=True), line


@pytest.mark.parametrize(('file', 'family'), [('tested', 0), ('tested-openmmlab', 1)])
def test_the_oldest_versions_let_through_are_those_that_are_tested(file, family):
    tested = dict(line.split('==') for line in requirements(file))
    for families in compat._FAMILIES.values():
        name, oldest = families[family]
        assert tested[name] == oldest


def test_pre_commit_and_the_environment_run_the_same_linters():
    tested = dict(line.split('==') for line in requirements('tested'))
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    revisions = dict(re.findall(r'repo: \S+/(ruff|codespell)\S*\n +rev: v(\S+)', hooks))
    assert revisions == {name: tested[name] for name in ('ruff', 'codespell')}
