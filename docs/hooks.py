"""Links from the pages to files of the repository outside ``docs/``, as they work on GitHub.

A page may link to any file of the repository by its relative path. Cards in ``configs/`` become
pages of the site, at their own paths; every other file that is linked is put beside them as text,
so that the site needs no address of a repository. MkDocs then checks these links as all others.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
_LINK = re.compile(r'\]\(([^()\s#:]+)(#[^()\s]*)?\)')
_AS_IT_IS = ('.md', '.png', '.svg', '.txt')


def _target(page: Path, link: str) -> Path:
    return Path(os.path.normpath(page.parent / link))


def _in_site(path: Path) -> str:
    """Path of a file of the repository in the sources of the site."""
    if path == ROOT / 'README.md':
        return 'index.md'
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    inside = path.relative_to(ROOT).as_posix()
    return inside if path.suffix in _AS_IT_IS else f'{inside}.txt'  # browsers show it, not save it


def _outside(page: Path) -> Iterator[Path]:
    """Files outside ``docs/`` that a page links to."""
    for link, _ in _LINK.findall(page.read_text(encoding='utf-8')):
        path = _target(page, link)
        if path.is_file() and path.is_relative_to(ROOT) and not path.is_relative_to(DOCS):
            yield path


def on_files(files, config):
    """Adds the cards of the configs, and what any page links to."""
    pages = [Path(f.abs_src_path) for f in files.documentation_pages()]
    cards = sorted(ROOT.glob('configs/**/README.md'))
    wanted = {*cards, *(path for page in [*pages, *cards] for path in _outside(page))}
    for path in sorted(wanted - {ROOT / 'README.md'}):
        files.append(File.generated(config, _in_site(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns paths in the repository into paths in the site."""
    source = Path(page.file.abs_src_path)
    folder = posixpath.dirname(page.file.src_uri)

    def rewrite(match: re.Match) -> str:
        path = _target(source, match[1])
        if not path.is_file() or not path.is_relative_to(ROOT):
            return match[0]  # MkDocs says what is wrong with it
        return f']({posixpath.relpath(_in_site(path), folder or ".")}{match[2] or ""})'

    return _LINK.sub(rewrite, markdown)
