"""Names in configs: of what a config builds, and those that were mistyped."""

import functools
import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Callable


def type_name(config: Mapping[str, Any]) -> str:
    """The bare name of what a config builds; without a ``type`` it is ``'None'``.

    Configs in pure Python hold classes where others hold names, with or without a scope:
    ``Resize``, ``'mmdet.Resize'`` and ``'Resize'`` are one.
    """
    kind = config.get('type')
    return getattr(kind, '__name__', str(kind)).rsplit('.', 1)[-1]


def nearest(name: Any, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> str:
    """``'; nearest: ...'``, the names nearest to a wrong one, as the end of an error message.

    Nothing if none of the known is at least as alike as ``cutoff``, from 0 to 1.
    """
    found = get_close_matches(str(name), list(known), count, cutoff)
    return f'; nearest: {", ".join(found)}' if found else ''


def check_arguments(kind: Callable[..., Any], arguments: Mapping[str, Any], hint: str = '') -> None:
    """Refuses arguments that a callable does not take, and too few; names a near one."""
    parameters = inspect.signature(kind).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    takes = f'it takes {", ".join(parameters)}' if parameters else 'it takes none'
    for name in arguments:
        if name not in parameters:
            near = nearest(name, parameters)
            raise ValueError(f'{kind.__name__} has no argument {name!r}{hint or near}; {takes}')
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise ValueError(f'{kind.__name__}: the argument {name!r} is missing; {takes}')


def arguments_by_name(
    hint: Callable[[Mapping[str, Any]], str] = lambda arguments: '',
) -> Callable[[type], type]:
    """Decorator of a class that configs build: a mistyped argument is answered with a near one.

    ``hint`` says something else instead, from all arguments, where it has something to say.
    """

    def decorate(kind: Any) -> type:
        init = kind.__init__
        signature = inspect.signature(init)

        @functools.wraps(init)
        def checked(self, *args: Any, **kwargs: Any) -> None:
            try:
                signature.bind(self, *args, **kwargs)
            except TypeError:
                given = {**dict(zip(list(signature.parameters)[1:], args)), **kwargs}
                check_arguments(kind, given, hint(given))
                raise
            init(self, *args, **kwargs)

        kind.__init__ = checked
        return kind

    return decorate
