"""What the files for contributors say of the repository, and of each other."""

import re
from pathlib import Path

import pytest
import yaml

from mmbackbone_plugins import __version__

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
PAGES = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), *(ROOT / '.github').rglob('*.md')]


def text(path):
    return (ROOT / path).read_text(encoding='utf-8')


def test_every_target_of_make_that_is_named_exists():
    targets = set(re.findall(r'^([a-z-]+):', text('Makefile'), re.M))
    named = {
        target
        for path in [*WORKFLOWS, *PAGES, ROOT / '.ci/run']
        for line in re.findall(r'(?:`|run: |^)make ((?:[a-z-]+ ?)+)', text(path), re.M)
        for target in line.split()
    }
    assert {'check', 'test', 'docs', 'dist', 'check-openmmlab'} <= named <= targets


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
