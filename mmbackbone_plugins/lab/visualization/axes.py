"""What axes of all figures have in common."""

import math
from collections.abc import Iterable, Sequence
from typing import Any


def tidy(axis: Any) -> None:
    """A light grid, no frame above and at the right, and ticks that say the whole number."""
    axis.grid(alpha=0.35, lw=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    for side in (axis.xaxis, axis.yaxis):
        formatter = side.get_major_formatter()
        if hasattr(formatter, 'set_useOffset'):
            formatter.set_useOffset(False)


def top_of(values: Iterable[float]) -> float:
    """Upper end of an axis from zero; what is no finite number does not count."""
    top = max((float(value) for value in values if math.isfinite(value)), default=0.0)
    return 1.08 * top if top > 0 else 1.0  # else its ticks were of 1e-9


def labelled(axes: Iterable[Any]) -> dict[str, Any]:
    """Handles for a legend of several axes by label, each label once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            found.setdefault(label, handle)
    return found


def shade_frozen(axis: Any, spans: Sequence[tuple[float, float]], label: str) -> None:
    """Shades spans of epochs; epoch ``n`` runs from ``n - 1`` to ``n`` on the axis."""
    for i, (first, last) in enumerate(spans):
        # The edge makes the patch of the legend one that is seen.
        look = dict(facecolor='0.84', edgecolor='0.55', lw=0.6, zorder=0)
        axis.axvspan(first - 1, last, **look, label=None if i else label)


def mark_frozen(axis: Any, spans: Sequence[tuple[float, float]], color: str, row: int) -> None:
    """Bars above the panel, for one of several runs in it."""
    for first, last in spans:
        low = 1.02 + 0.035 * row
        axis.axvspan(first - 1, last, low, low + 0.025, facecolor=color, lw=0, clip_on=False)
