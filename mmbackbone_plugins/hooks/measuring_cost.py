"""Books what passes cost that hooks make between two steps, to measure something."""

from collections.abc import Iterator
from typing import Any

from ..cost.counting import OperatorCounter


class MeasuringCost:
    """FLOPs of this process that its hook, which records costs, has not entered yet."""

    flops = 0

    def take(self) -> int:
        """What has been booked since the last time."""
        flops, self.flops = self.flops, 0
        return flops


def counted(runner: Any, passes: Iterator[int]) -> Iterator[int]:
    """Yields from passes, and books their FLOPs with the hook that records the costs of the run."""
    found = (getattr(hook, 'measuring', None) for hook in runner.hooks)
    books = [cost for cost in found if isinstance(cost, MeasuringCost)]
    if not books:
        yield from passes
        return
    while True:
        with OperatorCounter() as counter:
            number = next(passes, None)
        if number is None:
            return
        for cost in books:
            cost.flops += counter.forward + counter.backward
        yield number
