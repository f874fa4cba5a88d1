"""One look per method, the same in all figures of a report."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from .backend import COLORS

# Dark enough for thin lines on white: Okabe and Ito's colours without yellow.
_COLORS = (COLORS[5], COLORS[4], COLORS[6], COLORS[3], COLORS[0], COLORS[1])
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
_LINES = ('-', '--', ':', '-.')


class MethodStyle(NamedTuple):
    """How a method is drawn: colour, marker and dash of lines."""

    color: str
    marker: str
    line: str


def method_styles(names: Sequence[str], baseline: Optional[str] = None) -> dict[str, MethodStyle]:
    """Gives every method a colour and a marker; 24 methods differ in at least one of the two.

    Args:
        names: All methods of the report, so that a method looks the same in every figure.
        baseline: Drawn in black.
    """
    others = [name for name in names if name != baseline]
    styles = {
        name: MethodStyle(
            _COLORS[i % len(_COLORS)],
            _MARKERS[1 + i % (len(_MARKERS) - 1)] if i < 42 else 'o',
            _LINES[i // len(_COLORS) % len(_LINES)],
        )
        for i, name in enumerate(others)
    }
    if baseline in names:
        styles[baseline] = MethodStyle('#000000', _MARKERS[0], '-')
    return styles
