"""One look per line, the same in all figures of a report: no two have the same colour."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple, Optional

from .backend import COLORS

# Dark enough for thin lines on white: Okabe and Ito's colours without yellow, then darker ones.
_COLORS = (
    *(COLORS[5], COLORS[4], COLORS[6], COLORS[3], COLORS[0], COLORS[1]),
    *('#882255', '#332288', '#117733', '#7A4B2A'),
)
_MARKERS = ('s', '^', 'D', 'v', 'P', 'X', '*')
_LINES = ('-', '--', ':', '-.')


class MethodStyle(NamedTuple):
    """How a method is drawn: colour, marker and dash of lines."""

    color: str
    marker: str
    line: str


BASELINE = MethodStyle('#000000', 'o', '-')


def style_of(i: int) -> MethodStyle:
    """The look of the i-th of any number of lines, from 0."""
    turn, place = divmod(i, len(_MARKERS))
    # Steps of the golden ratio never meet a hue again; from green around to orange: no yellow.
    hue = (0.2 + 0.9 * (i * 0.61803398875 % 1)) % 1
    rgb = colorsys.hls_to_rgb(hue, (0.3, 0.4, 0.5)[i % 3], 0.7)
    more = '#' + ''.join(f'{round(255 * part):02X}' for part in rgb)
    color = _COLORS[i] if i < len(_COLORS) else more
    return MethodStyle(color, _MARKERS[place], _LINES[turn % len(_LINES)])


def method_styles(names: Sequence[str], baseline: Optional[str] = None) -> dict[str, MethodStyle]:
    """A look for every method of a report, the same in all figures; the baseline is black."""
    others = [name for name in names if name != baseline]
    styles = {name: style_of(i) for i, name in enumerate(others)}
    if baseline in names:
        styles[baseline] = BASELINE
    return styles
