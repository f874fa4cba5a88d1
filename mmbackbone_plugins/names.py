"""Names that were mistyped."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The names nearest to a wrong one, as the end of an error message.

    Args:
        name: What was given.
        known: What there is.
        count: How many to name at most.

    Returns:
        ``'; nearest: ...'``, or nothing if none is near.
    """
    found = get_close_matches(name, list(known), count, 0.6)
    return f'; nearest: {", ".join(found)}' if found else ''
