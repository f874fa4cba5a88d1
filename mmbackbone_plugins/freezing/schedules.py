"""Freezing schedules: which stages train at an epoch and iteration.

A schedule is a pure object: what trains depends on nothing but its arguments. So a resumed run
takes up the phase an uninterrupted one would be in, and tools draw a run before any training.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Union, cast

from ..registry import FREEZING_SCHEDULES
from ..utils.checks import flag, whole_number

Stages = Sequence[str]


class FreezingSchedule:
    """Base of all schedules: a new one derives from it and is in ``FREEZING_SCHEDULES``.

    Args:
        by_epoch: The unit in which the schedule counts: epochs, or iterations when False.

    Attributes:
        constant: Whether the time does not matter, so that any loop will do.
        decides: Whether it is told at every epoch what to train; see :class:`BudgetedFreezing`.
        times: Arguments that are times, or lists of them: whole numbers in the schedule's unit, or
            shares of the run, floats in (0, 1).

    Examples:
        >>> from mmbackbone_plugins import FreezingSchedule
        >>> class OneByOne(FreezingSchedule):
        ...     def select(self, time, stages):
        ...         return [stages[time % len(stages)]]
        >>> OneByOne().trainable(epoch=3, iteration=0, stages=['stage1', 'stage2'])
        frozenset({'stage2'})
    """

    constant = False
    decides = False
    times: tuple[str, ...] = ()

    def __init__(self, by_epoch: bool = True) -> None:
        self.by_epoch = flag('by_epoch', by_epoch)

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        """The stages that train at a time, an epoch or an iteration from 0."""
        raise NotImplementedError

    def trainable(self, epoch: int, iteration: int, stages: Stages) -> frozenset[str]:
        """Names of the stages that train; every other stage is frozen.

        Epoch and iteration count from 0, stages are all from input to output. A ValueError if a
        time is a share of a run of unknown length.
        """
        if any(is_share(time) for name in self.times for time in _listed(getattr(self, name))):
            raise ValueError(f'{self!r} has shares of a run: take that of resolved(length)')
        return frozenset(self.select(epoch if self.by_epoch else iteration, stages))

    def resolved(self, length: int) -> 'FreezingSchedule':
        """The schedule with times for shares of a run of ``length`` units, rounded up.

        A ValueError if times are not distinct at this length, where they have to be.

        Examples:
            >>> from mmbackbone_plugins import ProbeThenFinetune
            >>> ProbeThenFinetune(probe=0.3).resolved(12)
            ProbeThenFinetune(probe=4, by_epoch=True)
        """

        def resolve(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [resolve(one) for one in value]
            return math.ceil(Fraction(str(value)) * length) if is_share(value) else value

        given = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        times = {name: resolve(given[name]) for name in self.times}
        if all(times[name] == given[name] for name in times):
            return self
        return type(self)(**{**given, **times})

    def possible(self, stages: Stages) -> list[frozenset[str]]:
        """Of a schedule that decides: all sets of stages that it may choose, the largest first."""
        raise NotImplementedError

    def milestones_past(self, end: int) -> Sequence[int]:
        """Times named by the arguments that a run of ``end`` units never reaches."""
        return ()

    @property
    def unit(self) -> str:
        return 'epoch' if self.by_epoch else 'iteration'

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        inside = ', '.join(f'{n}={getattr(self, n)!r}' for n in names)
        return f'{type(self).__name__}({inside})'


def is_share(value: Any) -> bool:
    """Whether a time is a share of the run."""
    return isinstance(value, float) and 0 < value < 1


def check_time(name: str, value: Any, least: int, allowed: str) -> Union[int, float]:
    """Returns a whole number of at least ``least`` or a share; a ValueError for all else."""
    if is_share(value):
        return cast(float, value)
    return whole_number(name, value, least, f'{allowed}, or a share of the run in (0, 1)')


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


@FREEZING_SCHEDULES.register_module()
class FullTraining(FreezingSchedule):
    """Every stage trains, always: ordinary full fine-tuning.

    Examples:
        >>> from mmbackbone_plugins import FullTraining
        >>> sorted(FullTraining().trainable(epoch=7, iteration=0, stages=['stage1', 'stage2']))
        ['stage1', 'stage2']
    """

    constant = True

    def __init__(self) -> None:
        super().__init__()

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages


@FREEZING_SCHEDULES.register_module()
class FrozenBackbone(FreezingSchedule):
    """No stage ever trains, as in "Proper Reuse" (arXiv 2204.00484).

    Examples:
        >>> from mmbackbone_plugins import FrozenBackbone
        >>> sorted(FrozenBackbone().trainable(epoch=7, iteration=0, stages=['stage1', 'stage2']))
        []
    """

    constant = True

    def __init__(self) -> None:
        super().__init__()

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return ()


@FREEZING_SCHEDULES.register_module()
class StepFreezing(FreezingSchedule):
    """Every stage trains in every ``rho``-th epoch from epoch 0, none in the others.

    The step freezing scheduler of "Dynamic Backbone Freezing" (arXiv 2407.15143): the backbone
    trains iff ``rho`` is finite and ``epoch % rho == 0``. ``rho=1`` is full fine-tuning and
    ``rho='inf'`` a frozen backbone.

    Args:
        rho: The period, a positive integer, or infinity (the string ``'inf'`` where the value
            goes through a config file: a dumped float inf does not load again).
        by_epoch: Count epochs (the paper) or iterations.

    Raises:
        ValueError: If ``rho`` is anything else.

    Examples:
        >>> from mmbackbone_plugins import StepFreezing
        >>> schedule = StepFreezing(rho=3)
        >>> [epoch for epoch in range(7) if schedule.trainable(epoch, 0, ['stage1', 'stage2'])]
        [0, 3, 6]
    """

    times = ('rho',)

    def __init__(self, rho: Union[int, float, str], by_epoch: bool = True) -> None:
        super().__init__(by_epoch)
        if isinstance(rho, str) and rho.strip().lower() == 'inf':
            rho = math.inf
        if rho != math.inf:
            rho = check_time('rho', rho, 1, "a positive integer, 'inf' for a frozen backbone")
        self.rho = cast(int, rho)  # or infinity

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages if self.rho != math.inf and time % self.rho == 0 else ()

    def milestones_past(self, end: int) -> Sequence[int]:
        return [self.rho] if end < self.rho < math.inf else []


@FREEZING_SCHEDULES.register_module()
class MilestoneFreezing(FreezingSchedule):
    """Every stage trains in exactly the listed epochs, none in the others.

    The second scheduler in the DBF authors' code, an explicit list of epochs to train in.

    Args:
        train_epochs: The epochs in which to train, from 0, strictly increasing.
        by_epoch: Whether the list counts epochs (default) or iterations.

    Raises:
        ValueError: If the list is empty, unsorted, or holds anything but integers from 0.

    Examples:
        >>> from mmbackbone_plugins import MilestoneFreezing
        >>> schedule = MilestoneFreezing([0, 4])
        >>> [epoch for epoch in range(7) if schedule.trainable(epoch, 0, ['stage1', 'stage2'])]
        [0, 4]
    """

    times = ('train_epochs',)

    def __init__(self, train_epochs: Sequence[Union[int, float]], by_epoch: bool = True) -> None:
        super().__init__(by_epoch)
        allowed = 'a non-empty, strictly increasing list of integers from 0'
        if isinstance(train_epochs, (str, bytes, Mapping)) or not hasattr(train_epochs, '__iter__'):
            raise ValueError(f'train_epochs must be {allowed}, got {train_epochs!r}')
        train_epochs = list(train_epochs)
        if not train_epochs:
            raise ValueError(
                f'train_epochs must be {allowed}, got []; for a backbone that never trains use '
                "schedule=dict(type='FrozenBackbone')"
            )
        for value in train_epochs:
            check_time('every item of train_epochs', value, 0, 'an integer from 0')
        kinds = [[t for t in train_epochs if is_share(t) == kind] for kind in (False, True)]
        if any(a >= b for times in kinds for a, b in zip(times, times[1:])):
            raise ValueError(f'train_epochs must be {allowed}, got {train_epochs!r}')
        self.train_epochs = cast('list[int]', train_epochs)
        self._times = frozenset(train_epochs)

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages if time in self._times else ()

    def milestones_past(self, end: int) -> Sequence[int]:
        return [t for t in self.train_epochs if t >= end]


@FREEZING_SCHEDULES.register_module()
class ProbeThenFinetune(FreezingSchedule):
    """Nothing trains before epoch ``probe``, everything from then on.

    Decoder probing then fine-tuning (DP-FT) of "Mind the Backbone" (arXiv 2303.14744) in one run.

    Args:
        probe: Number of probing epochs, from 0.
        by_epoch: Count epochs or iterations.

    Raises:
        ValueError: If ``probe`` is not an integer from 0.

    Examples:
        >>> from mmbackbone_plugins import ProbeThenFinetune
        >>> schedule = ProbeThenFinetune(probe=2)
        >>> [epoch for epoch in range(7) if schedule.trainable(epoch, 0, ['stage1', 'stage2'])]
        [2, 3, 4, 5, 6]
    """

    times = ('probe',)

    def __init__(self, probe: Union[int, float], by_epoch: bool = True) -> None:
        super().__init__(by_epoch)
        self.probe = cast(int, check_time('probe', probe, 0, 'an integer from 0'))

    def select(self, time: int, stages: Stages) -> Sequence[str]:
        return stages if time >= self.probe else ()

    def milestones_past(self, end: int) -> Sequence[int]:
        return [self.probe] if self.probe >= end else []
