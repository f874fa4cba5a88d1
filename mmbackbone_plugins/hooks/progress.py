"""Progress of long work inside a run: a bar on a terminal, lines in a log file."""

import sys
import time

from mmengine import ProgressBar
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from ..utils.text import duration_text


class Progress:
    """A bar on a terminal, else a line in the log every so many seconds; on rank 0 only."""

    def __init__(self, what: str, total: int, every: float = 30.0) -> None:
        self._what, self._total, self._every = what, total, every
        self._start = self._last = time.monotonic()
        self._bar = None
        if not is_main_process():
            self._every = float('inf')
        elif sys.stdout.isatty():
            print(what)
            self._bar = ProgressBar(total)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
            if done == self._total:
                print()
        elif now - self._last >= self._every:
            self._last = now
            left = (now - self._start) / done * (self._total - done)
            print_log(
                f'{self._what}: {done} of {self._total}, {duration_text(left)} left',
                logger='current',
            )
