"""The report as one HTML file that needs nothing else."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .content import Content

_TYPES = {'.svg': 'image/svg+xml', '.png': 'image/png', '.jpg': 'image/jpeg'}


def environment(autoescape: bool) -> Environment:
    """Templates of this folder; torch needs jinja2, so it is there.

    Args:
        autoescape: Whether every value is made safe for HTML.
    """
    shop = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shop.filters['kind'] = lambda block: type(block).__name__
    return shop


def render_page(content: Content, folder: Path) -> str:
    """Writes the report as one HTML document; pictures become part of it.

    Args:
        content: The report.
        folder: What the pictures' paths are relative to.
    """
    shop = environment(autoescape=True)
    shop.filters['data_uri'] = lambda file: data_uri(Path(folder) / file)
    shop.filters['anchor'] = _anchor
    return shop.get_template('page.html.j2').render(content=content)


def data_uri(path: Path) -> str:
    """A picture file as an address that holds it."""
    text = base64.b64encode(path.read_bytes()).decode('ascii')
    return f'data:{_TYPES[path.suffix]};base64,{text}'


def _anchor(number: Any) -> str:
    return f'part-{number}'
