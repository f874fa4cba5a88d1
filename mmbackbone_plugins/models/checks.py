"""Checks that blocks share."""

from numbers import Integral
from typing import Any, Optional


def positive(name: str, value: Any, most: Optional[int] = None, why: str = '') -> int:
    """A positive integer, at most ``most``.

    Raises:
        ValueError: If ``value`` is anything else; the message names it and what is allowed.
    """
    # bool is an Integral in Python, but reduction=True is a mistake and not reduction=1.
    wrong = isinstance(value, bool) or not isinstance(value, Integral) or value < 1
    if wrong or (most is not None and value > most):
        limit = f' up to {most}{why}' if most is not None else ''
        raise ValueError(f'{name} must be a positive integer{limit}, got {value!r}')
    return int(value)
