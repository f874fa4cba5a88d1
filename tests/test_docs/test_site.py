"""The site: built as `make docs` does, read as a browser does."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pages
import pytest

import mmbackbone_plugins

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec('mkdocs'),
    reason='mkdocs is not installed: pip install -r requirements/docs.txt',
)

# Tags that a browser fetches without being asked, by the attribute that says what.
LOADS = dict(script='src', img='src', iframe='src', source='src', video='src', audio='src')


class Page(HTMLParser):
    """What a page loads, where it links to, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get('id'))
        if found.get(LOADS.get(tag)):
            self.loads.append(found[LOADS[tag]])
        if tag == 'link' and found.get('rel') not in ('canonical', 'next', 'prev'):
            self.loads.append(found['href'])
        if tag == 'a' and found.get('href'):
            self.links.append(found['href'])


def build(out: Path, config: Path = pages.ROOT / 'mkdocs.yml') -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-f', str(config)]
    env = dict(os.environ, NO_MKDOCS_2_WARNING='1')
    return subprocess.run([*command, '-d', str(out)], env=env, capture_output=True, text=True)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp('docs') / 'site'
    done = build(out)
    assert done.returncode == 0, done.stderr[-4000:]
    assert 'WARNING' not in done.stderr
    return out


@pytest.fixture(scope='module')
def built(site):
    return {path: Page(path) for path in sorted(site.rglob('*.html'))}


def test_every_page_is_there_and_reachable(site, built):
    expected = set()
    for page in pages.all_pages():
        if page != pages.ROOT / 'README.md':
            inside = page.relative_to(pages.DOCS if pages.DOCS in page.parents else pages.ROOT)
            if inside.name == 'README.md':
                inside = inside.with_name('index.md')
            expected.add(site / inside.with_suffix('.html'))
    assert expected | {site / '404.html'} == set(built)
    seen, todo = set(), [site / 'index.html']
    while todo:
        path = todo.pop()
        if path in seen or path not in built:
            continue
        seen.add(path)
        for link in built[path].links:
            if '://' not in link:
                todo.append((path.parent / unquote(link.partition('#')[0])).resolve())
    assert expected <= seen


def test_links_inside_the_site_hold(site, built):
    """As the browser follows them, those to files of the repository among them."""
    for path, page in built.items():
        if path.name == '404.html':  # its links are from the root of a server
            continue
        for link in page.links:
            if '://' in link or link.startswith('mailto:'):
                continue
            target, _, anchor = link.partition('#')
            target = (path.parent / unquote(target)).resolve() if target else path
            assert target.is_file(), f'{path.name}: {link}'
            if anchor and target in built:
                assert unquote(anchor) in built[target].ids, f'{path.name}: {link}'


def test_configs_are_in_the_site_word_for_word(site):
    name = 'configs/dbf/oriented-rcnn-le90_r50_fpn_dbf-rho10-1x_dota.py'
    assert (site / f'{name}.txt').read_text() == (pages.ROOT / name).read_text()


def test_nothing_is_loaded_from_elsewhere(site, built):
    for path, page in built.items():
        outside = [load for load in page.loads if re.match(r'(\w+:)?//', load)]
        assert not outside, f'{path.name} loads {outside}'
        text = path.read_text(encoding='utf-8')
        assert not re.search(r'@import\s*(url|["\'])|url\(["\']?(https?:)?//', text), path.name
        assert 'class="mermaid"' not in text  # the theme fetches the library for it
    for sheet in site.rglob('*.css'):
        found = re.search(r'(@import|url\()\s*["\']?(https?:)?//[^)]*', sheet.read_text('utf-8'))
        assert not found, f'{sheet.name}: {found[0]}'


def test_the_reference_has_every_public_name(built):
    ids = {i for path, page in built.items() if path.parent.name == 'reference' for i in page.ids}
    documented = {i.rpartition('.')[2] for i in ids if i and i.startswith('mmbackbone_plugins.')}
    missing = set(mmbackbone_plugins.__all__) - documented - {'__version__', 'FREEZING_SCHEDULES'}
    assert not missing
    text = ''.join(pages.text(p) for p in (pages.DOCS / 'reference').glob('*.md'))
    assert '`FREEZING_SCHEDULES`' in text and '`__version__`' in text


LINKS = {
    '[gone](nowhere.md)': "'nowhere.md'",
    '[gone](freezing.md#no-such-heading)': 'no-such-heading',
    '[gone](../configs/no-such-file.py)': 'no-such-file.py',
}


@pytest.mark.parametrize(
    'faults',
    [LINKS, pytest.param({'::: mmbackbone_plugins.Gone': 'Gone'}, marks=pytest.mark.slow)],
    ids=['links', 'names'],
)
def test_the_build_is_strict(tmp_path, faults):
    """A page with a fault ends the build."""
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'index.md').write_text('# Page\n\n' + '\n\n'.join(faults) + '\n')
    (tmp_path / 'docs' / 'freezing.md').write_text('# Freezing\n')
    (tmp_path / 'docs' / 'hooks.py').symlink_to(pages.DOCS / 'hooks.py')
    (tmp_path / 'docs' / 'site.css').write_text('')
    settings = pages.text(pages.ROOT / 'mkdocs.yml').split('\nnav:')[0]
    settings = settings.replace('paths: [.]', f'paths: [{pages.ROOT}]')
    (tmp_path / 'mkdocs.yml').write_text(settings)
    done = build(tmp_path / 'site', tmp_path / 'mkdocs.yml')
    assert done.returncode == 1
    assert all(said in done.stderr for said in faults.values())
