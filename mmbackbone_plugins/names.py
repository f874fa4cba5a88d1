"""Names that were mistyped."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def nearest(name: Any, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """The names nearest to a wrong one, as the end of an error message.

    Args:
        name: What was given.
        known: What there is.
        count: How many to name at most.
        cutoff: How alike they must be, from 0 to 1.

    Returns:
        ``'; nearest: ...'``, or nothing if none is near.
    """
    found = get_close_matches(str(name), list(known), count, cutoff)
    return f'; nearest: {", ".join(found)}' if found else ''
