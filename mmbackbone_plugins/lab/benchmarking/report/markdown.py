"""The report as Markdown, with its figures in files beside it."""

import re
from typing import Any

from .content import Content
from .page import environment
from .tables import Cell


def render_markdown(content: Content) -> str:
    """Writes the report in the Markdown of GitHub; links are relative to its folder."""
    shop = environment(autoescape=False)
    shop.filters.update(md=escape, cell=_cell, fence=_fence)
    text = shop.get_template('report.md.j2').render(content=content)
    return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


def escape(text: Any) -> str:
    """Makes a text stand as it is: no HTML, no table border, no link, no emphasis."""
    text = re.sub(r'\s+', ' ', str(text), flags=re.ASCII)
    text = text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    return re.sub(r'([\\`*\[\]|~$])', r'\\\1', text)


def _cell(cell: Cell) -> str:
    return ' '.join(escape(part) for part in (cell.text, cell.below) if part)


def _fence(text: str) -> str:
    """A fence longer than any in the text."""
    longest = max((len(run) for run in re.findall(r'`+', text)), default=0)
    return '`' * max(3, longest + 1)
