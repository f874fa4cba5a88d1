"""Checks of arguments."""

import math
from collections.abc import Iterable
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
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not least <= int(value) <= most
    ):
        raise ValueError(f'{name} must be {allowed}, got {value!r}')
    return int(value)


def flag(name: str, value: Any) -> bool:
    """Returns a truth value.

    Raises:
        ValueError: If it is anything else, such as a text, which would count as true.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, got {value!r}')
    return value


def choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Returns one of some texts or constants.

    Raises:
        ValueError: If it is anything else, such as 0 for False; the message lists all.
    """
    allowed = list(allowed)
    if not any(value is a or (isinstance(value, str) and value == a) for a in allowed):
        raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {value!r}')
    return value
