"""Names in configs: of what a config builds, and those that were mistyped."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def type_name(config: Mapping[str, Any]) -> str:
    """The bare name of what a config builds.

    Configs in pure Python hold classes where others hold names, with or without a scope:
    ``Resize``, ``'mmdet.Resize'`` and ``'Resize'`` are one.

    Args:
        config: A config with ``type``; without one the name is ``'None'``.
    """
    kind = config.get('type')
    return getattr(kind, '__name__', str(kind)).rsplit('.', 1)[-1]


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
