"""What pages promise each other: links, anchors, sections, and the messages that they quote."""

import ast
import re

import pages
import pytest

# Those at the top too, which are no pages of the site.
PAGES = sorted({*pages.all_pages(), *pages.ROOT.glob('*.md')})
every_page = pytest.mark.parametrize('page', PAGES, ids=pages.name)
SECTIONS = [
    'What it is for',
    'Config lines',
    'Formula',
    'Source',
    'Details',
    'Cost',
    'What is known not to help',
    'Figures measured here',
]


@every_page
def test_links_and_anchors_lead_somewhere(page):
    for link in pages.links(page):
        if re.match(r'(https?|mailto):', link):
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f'{link}: there is no such file'
        assert target.is_file(), f'{link}: a folder is no page of the site'
        if anchor:
            assert target.suffix == '.md', f'{link}: an anchor in a file without headings'
            assert anchor in pages.anchors(target), f'{link}: no such heading'


@every_page
def test_lists_have_a_blank_line_before_them(page):
    """Without one the site shows a paragraph, where GitHub shows a list."""
    lines = pages.prose(page).splitlines()
    for before, line in zip(lines, lines[1:]):
        if re.match(r'[-*] |\d+\. ', line):
            opened = re.match(r'([-*] |\d+\. | +\S)', before) or not before.strip()
            assert opened, f'no blank line before {line!r}'


@pytest.mark.parametrize('card', pages.CARDS)
def test_every_card_has_the_same_sections(card):
    page = pages.DOCS / f'{card}.md'
    assert re.findall(r'^## (.+)$', pages.prose(page), re.M) == SECTIONS
    config = pages.text(page).split('## Config lines')[1].split('\n## ')[0]
    assert 'mmbackbone_plugins' in config or '-o NEW_CONFIG.py' in config


def test_every_folder_of_the_zoo_is_linked_from_a_page():
    found = (page for page in pages.all_pages() if page.is_relative_to(pages.ROOT / 'docs'))
    linked = ' '.join(link for page in found for link in pages.links(page))
    for readme in (pages.ROOT / 'configs').glob('*/README.md'):
        folder = readme.parent.name
        if folder != 'baselines':
            assert f'configs/{folder}/README.md' in linked


def _card(name):
    return pages.DOCS / f'{name}.md'


@pytest.fixture(scope='module')
def messages():
    """Texts in the sources, a placeholder in place of what is put in at run time."""
    found = set()
    for path in (pages.ROOT / 'mmbackbone_plugins').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else '\0' for v in node.values]
                found.add(''.join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_quoted_messages_are_those_of_the_code(messages):
    quoted = re.findall(r'^Message: `(.+)`$', pages.text(_card('troubleshooting')), re.M)
    assert len(quoted) >= 15
    for message in quoted:
        parts = [re.escape(part.strip()) for part in message.split('...')]
        pattern = re.compile('.*'.join(parts), re.S)
        assert any(pattern.search(known) for known in messages), message


def test_every_symptom_has_a_way_out():
    """A symptom says its cause and its remedy, or that there is none to look for."""
    for part in re.split(r'^### ', pages.prose(_card('troubleshooting')), flags=re.M)[1:]:
        title, body = part.split('\n', 1)
        body = re.split(r'^## ', body, flags=re.M)[0]
        said = ('**Remedy**', '**Cause**', 'Harmless', 'Not under this hook', 'a property of')
        assert any(word in body for word in said), title
