"""The report as one HTML file that needs nothing else, and as Markdown with figures beside it."""

import base64
import re
from pathlib import Path
from typing import Any, Callable

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .blocks import Content, Entry

_TYPES = {'.svg': 'image/svg+xml', '.png': 'image/png', '.jpg': 'image/jpeg'}


def render_page(content: Content, folder: Path) -> str:
    """Writes the report as one HTML document; pictures, relative to ``folder``, become part."""

    def data_uri(file: str) -> str:
        text = base64.b64encode((folder / file).read_bytes()).decode('ascii')
        return f'data:{_TYPES[Path(file).suffix]};base64,{text}'

    return _render('page.html.j2', content, True, data_uri=data_uri)


def render_markdown(content: Content) -> str:
    """Writes the report in the Markdown of GitHub; links are relative to its folder."""
    text = _render('report.md.j2', content, False, md=escape, entry=_entry, fence=_fence)
    return re.sub(r'\n{3,}', '\n\n', text).strip() + '\n'


def _render(template: str, content: Content, autoescape: bool, **filters: Callable) -> str:
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,  # makes every value safe for HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(filters, kind=lambda block: type(block).__name__)
    return env.get_template(template).render(content=content)


def escape(text: Any) -> str:
    """Makes a text stand as it is: no HTML, no table border, no link, no emphasis."""
    text = re.sub(r'\s+', ' ', str(text), flags=re.ASCII)
    text = text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
    return re.sub(r'([\\`*\[\]|~$])', r'\\\1', text)


def _entry(entry: Entry) -> str:
    return ' '.join(escape(part) for part in entry if part)


def _fence(text: str) -> str:
    """A fence longer than any in the text."""
    return max(['``', *re.findall(r'`+', text)], key=len) + '`'
