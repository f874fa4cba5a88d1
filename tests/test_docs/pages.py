"""The pages of the project as their readers see them: text, blocks of code, headings, links."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
CARDS = ('freezing', 'frozen', 'rgn', 'regularizer', 'dp_ft', 'blocks', 'cost')
CARDS = (*CARDS, 'eigenspectrum', 'widths', 'robustness')
CARDS = (*CARDS, 'interpolation', 'projection', 'learning_rates')
_FENCE = re.compile(r'^( *)```([^\n`]*)\n(.*?)^\1```[ ]*$', re.M | re.S)


def all_pages() -> list[Path]:
    """Every page that a reader may come to: the README, the site's own, the cards of configs."""
    found = [ROOT / 'README.md', *DOCS.rglob('*.md'), *(ROOT / 'configs').rglob('README.md')]
    return sorted(found)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def text(path: Path) -> str:
    return path.read_text(encoding='utf-8')


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    number: int  # on its page, from 1
    language: str
    code: str

    @property
    def id(self) -> str:
        return f'{name(self.page)}-{self.number}'


def blocks(path: Path) -> list[Block]:
    found = []
    for number, match in enumerate(_FENCE.finditer(text(path)), start=1):
        indent, language, code = match.groups()
        code = re.sub(f'^{indent}', '', code, flags=re.M)
        found.append(Block(path, number, language.strip(), code))
    return found


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub('', text(path))


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r'^#{1,6} +(.+?) *$', prose(path), re.M):
        plain = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        slug = re.sub(r'[^\w\- ]', '', plain.lower()).replace(' ', '-')
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f'{slug}-{number}'
        found.add(unique)
    return found


def links(path: Path) -> list[str]:
    """Targets of all links and pictures of a page."""
    markdown = re.findall(r'\]\(([^()\s]+)\)', prose(path))
    return markdown + re.findall(r'<img [^>]*src="([^"]+)"', prose(path))
