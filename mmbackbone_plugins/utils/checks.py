"""Checks of arguments."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def whole_number(
    name: str,
    value: Any,
    least: int = 1,
    allowed: str = 'a positive integer',
    most: float = math.inf,
) -> int:
    """Returns a whole number from ``least`` to ``most``; a ValueError says what is ``allowed``."""
    # bool is an Integral in Python, but rho=True is a mistake and not rho=1.
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= most:
        raise ValueError(f'{name} must be {allowed}, got {value!r}')
    return int(value)


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether it is a finite real number from ``least`` to ``most``; True and False are none."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and math.isfinite(value) and least <= value <= most


def flag(name: str, value: Any) -> bool:
    """Returns a truth value; a ValueError for all else, such as a text, which counts as true."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be True or False, got {value!r}')
    return value


def choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Returns one of some texts or constants; a ValueError for all else, such as 0 for False."""
    allowed = list(allowed)
    if not any(value is a or (isinstance(value, str) and value == a) for a in allowed):
        raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {value!r}')
    return value
