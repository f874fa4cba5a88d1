"""Checks of arguments that several hooks take."""

from typing import Any, Union


def check_target(target: Any) -> Union[str, list[str]]:
    """Returns a target as given, lists as lists.

    Raises:
        ValueError: If it is neither a dotted path nor a list of them.
    """
    targets = [target] if isinstance(target, str) else target
    if not isinstance(targets, (list, tuple)) or not all(isinstance(t, str) for t in targets):
        raise ValueError(
            f"target must be a dotted path such as 'backbone' or a list of them, got {target!r}"
        )
    return target if isinstance(target, str) else list(target)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Returns a whole number of at least ``least``.

    Raises:
        ValueError: If it is anything else; the message names the argument.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f'{name} must be a whole number of at least {least}, got {value!r}')
    return value


def refuse_second(runner, hook: Any) -> None:
    """Refuses two hooks of a kind that would write one file and one set of scalars.

    Args:
        runner: The runner.
        hook: One of its hooks.

    Raises:
        ValueError: If another hook has the same class.
    """
    if any(type(other) is type(hook) and other is not hook for other in runner.hooks):
        name = type(hook).__name__
        raise ValueError(
            f'custom_hooks: there are two {name}s, which would write the same file; keep one (one '
            'may be in default_hooks)'
        )
