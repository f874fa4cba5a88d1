"""Checks of arguments."""

import math
from numbers import Integral
from typing import Any


def whole_number(
    name: str,
    value: Any,
    least: int = 1,
    allowed: str = 'a positive integer',
    most: float = math.inf,
) -> int:
    """Returns a whole number of at least ``least`` and at most ``most``.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        least: The least that is allowed.
        allowed: What is allowed, in words.
        most: The most that is allowed.

    Raises:
        ValueError: If it is anything else; the message names the argument and what is allowed.
    """
    # bool is an Integral in Python, but rho=True is a mistake and not rho=1.
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= value <= most:
        raise ValueError(f'{name} must be {allowed}, got {value!r}')
    return int(value)
