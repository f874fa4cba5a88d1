"""Makes schedules from configs."""

import inspect
from collections.abc import Mapping
from typing import Any, Union

from ..registry import FREEZING_SCHEDULES
from ..utils.names import check_arguments, nearest
from .schedules import FreezingSchedule, Stages


def build_schedule(schedule: Union[FreezingSchedule, Mapping[str, Any]]) -> FreezingSchedule:
    """Makes a schedule from a config.

    mmengine's own builder is not used: under a default scope such as ``mmrotate`` it warns that
    this registry has no node there.

    Args:
        schedule: A dict with ``type`` (a name in ``FREEZING_SCHEDULES`` or a class) and its
            arguments, or a ready object with a method ``trainable``.

    Returns:
        The schedule.

    Raises:
        ValueError: If the type is unknown, or an argument unknown, missing or wrong.

    Examples:
        >>> from mmbackbone_plugins import build_schedule
        >>> build_schedule(dict(type='StepFreezing', rho=10))
        StepFreezing(rho=10, by_epoch=True)
    """
    if not isinstance(schedule, Mapping):
        if not isinstance(schedule, type) and hasattr(schedule, 'trainable'):
            return _adopt(schedule)
        raise ValueError(
            "schedule must be a dict such as dict(type='StepFreezing', rho=10), got "
            f'{schedule!r}; known types: {_known()}'
        )
    arguments = dict(schedule)
    kind = arguments.pop('type', None)
    if isinstance(kind, str):
        found = FREEZING_SCHEDULES.get(kind)
        if found is None:
            near = nearest(kind, FREEZING_SCHEDULES.module_dict)
            raise ValueError(f'unknown schedule type {kind!r}{near}. Known types: {_known()}')
        kind = found
    if not isinstance(kind, type):
        raise ValueError(f'schedule type must be one of {_known()}, got {kind!r}')
    check_arguments(kind, arguments)
    return _adopt(kind(**arguments))


def misplaced(arguments: Mapping[str, Any]) -> str:
    """What to say of a schedule's arguments that were given beside it: where they belong."""
    given = arguments.get('schedule')
    inner = dict(given) if isinstance(given, Mapping) else dict(type=given)
    kind = inner.get('type')
    kind = FREEZING_SCHEDULES.get(kind) if isinstance(kind, str) else kind
    if not isinstance(kind, type):
        return ''
    outside = {n: arguments[n] for n in inspect.signature(kind).parameters if n in arguments}
    if not outside:
        return ''
    inner = {**inner, 'type': kind.__name__, **outside}
    inside = ', '.join(f'{name}={value!r}' for name, value in inner.items())
    return f', which belongs into the schedule: schedule=dict({inside})'


def _adopt(schedule: Any) -> FreezingSchedule:
    return schedule if isinstance(schedule, FreezingSchedule) else _Adopted(schedule)


class _Adopted(FreezingSchedule):
    """An object with a method ``trainable`` that does not derive from the base class."""

    def __init__(self, inner: Any) -> None:
        super().__init__(getattr(inner, 'by_epoch', True))
        self.inner = inner

    def trainable(self, epoch: int, iteration: int, stages: Stages) -> frozenset[str]:
        return frozenset(self.inner.trainable(epoch, iteration, stages))

    def __repr__(self) -> str:
        return repr(self.inner)


def _known() -> str:
    return ', '.join(sorted(FREEZING_SCHEDULES.module_dict))
