"""Checks of the hooks in a config, and of arguments that several hooks take."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Optional, Union

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..freezing.folding import FROZEN_FORWARDS
from ..registry import find, registered_names
from ..utils.checks import choice, flag, whole_number
from ..utils.names import nearest, type_name


def check_hooks(config: Mapping[str, Any]) -> None:
    """Refuses hooks of a config that cannot be built, before anything else of it is.

    Those of this package are built once, for a check of their arguments. The ValueError names the
    hook's place in the config, and the nearest name.
    """
    with HOOKS.switch_scope_and_registry(config.get('default_scope', None)):
        for where, hook in _hooks(config):
            if isinstance(hook, Hook):
                continue
            if not isinstance(hook, Mapping) or hook.get('type') is None:
                raise ValueError(
                    f"{where} must be a dict such as dict(type='RGNHook'), got {hook!r}"
                )
            kind = find(HOOKS, hook['type'])
            if kind is None:
                near = nearest(type_name(hook), registered_names(HOOKS))
                raise ValueError(f'{where}: there is no hook {hook["type"]!r}{near}')
            if getattr(kind, '__module__', '').startswith(__package__):
                arguments = {k: v for k, v in hook.items() if k not in ('type', 'priority')}
                try:
                    kind(**arguments)
                except ValueError as error:
                    raise ValueError(f'{where}: {error}') from error


def _hooks(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in config:
        for right in ('custom_hooks', 'default_hooks'):
            # mmengine takes any other name for a variable of the config's own.
            if right not in config and get_close_matches(key, [right], cutoff=0.9):
                raise ValueError(f'{key} is not read by anything; did you mean {right}?')
    default, custom = config.get('default_hooks', None), config.get('custom_hooks', None)
    if not isinstance(default, (Mapping, type(None))):
        raise ValueError(
            f"default_hooks must be a dict such as dict(timer=dict(type='IterTimerHook')), got "
            f'{default!r}; a list of hooks is custom_hooks'
        )
    if not isinstance(custom, (list, tuple, type(None))):
        raise ValueError(
            f"custom_hooks must be a list of hooks such as [dict(type='RGNHook')], got {custom!r}; "
            'put brackets around it'
        )
    for name, hook in (default or {}).items():
        if hook is not None:  # how a config takes one of mmengine's own away
            yield f'default_hooks.{name}', hook
    for number, hook in enumerate(custom or ()):
        yield f'custom_hooks[{number}]', hook


def check_target(target: Any) -> Union[str, list[str]]:
    """Returns a target as given, lists as lists; a ValueError if it is no path or list of them."""
    found = check_names('target', target, "a dotted path such as 'backbone' or a list of them")
    return target if isinstance(target, str) else found


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Returns a whole number of at least ``least``; a ValueError if it is anything else."""
    return whole_number(name, value, least, f'a whole number of at least {least}')


def check_names(name: str, value: Any, allowed: str = 'a text or a list of texts') -> list[str]:
    """Returns a name or a list of names as a list; a ValueError if it is anything else."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ValueError(f'{name} must be {allowed}, got {value!r}')
    return list(names)


def check_patterns(name: str, value: Any) -> list[str]:
    """Returns a regular expression or a list of them as a list; a ValueError for all else."""
    for pattern in (patterns := check_names(name, value)):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f'{name}: {pattern!r} is no regular expression: {error}') from None
    return patterns


def check_frozen_forward(how: Any, compiled: Any, mode: str) -> str:
    """Returns how frozen stages go forward; a ValueError if their modes or a graph exclude it."""
    choice('frozen_forward', how, FROZEN_FORWARDS)
    if how != 'exact' and mode == 'train':
        raise ValueError(
            f'frozen_forward={how!r} needs norms in eval mode; with '
            "frozen_mode='train' allowed is 'exact'"
        )
    if flag('frozen_compile', compiled) and how == 'exact':
        raise ValueError(
            "frozen_compile=True: a compiled graph rounds otherwise, so frozen_forward='exact' has "
            "none; allowed are 'folded', 'bf16' and 'fp16'"
        )
    if compiled and mode != 'eval':
        raise ValueError(
            'frozen_compile=True: a graph draws its own random numbers, so all of a frozen stage '
            f"must be in eval mode; allowed is frozen_mode='eval', got {mode!r}"
        )
    return how


def check_path(name: str, value: Any) -> Optional[str]:
    """Returns the path of a file, or None; a ValueError if it is anything else."""
    if value is not None and (not isinstance(value, (str, os.PathLike)) or not os.fspath(value)):
        raise ValueError(f'{name} must be the path of a file or None, got {value!r}')
    return None if value is None else os.fspath(value)


def refuse_second(runner, hook: Any) -> None:
    """Raises a ValueError for two hooks of a kind, which would write the same file and scalars."""
    if sum(type(other) is type(hook) for other in runner.hooks) > 1:
        raise ValueError(
            f'custom_hooks: there are two {type(hook).__name__}s, which would write the same '
            'file; keep one (one may be in default_hooks)'
        )
