"""Opens the ledger of a run: a new one, or that of the part before, and its file."""

import logging
import time
from itertools import chain, count
from pathlib import Path
from typing import Any, Optional

from mmengine.logging import print_log

from ..cost.ledger import Ledger


def open_ledger(runner, path: Path, saved: Optional[Any], resumed: bool) -> Ledger:
    """The ledger to go on with, in ``before_train`` of rank 0.

    ``saved`` is what the checkpoint had, if the run is ``resumed``. A file that is not of this run
    is kept aside; what that of this run knows of steps that will be done again is booked as lost.
    """
    ledger = Ledger(iteration=runner.iter, unrecorded_steps=runner.iter)
    if saved is not None:
        try:
            ledger = Ledger.from_dict(saved)
        except ValueError as error:
            say(f'the cost record of the checkpoint is left out: {error}')
    elif resumed:
        say(
            f'the run that is resumed has no cost record of its first {runner.iter} iterations: it '
            'was trained without this hook'
        )
    if path.exists():
        # Asked to resume, but killed before its first checkpoint: the same run all the same.
        _meet_file(ledger, path, adopt=runner._resume and not resumed)
    return ledger


def say(text: str, level: int = logging.WARNING) -> None:
    """A line of the log; a warning by default."""
    print_log(f'TrainingCostHook: {text}', logger='current', level=level)


def _meet_file(ledger: Ledger, path: Path, adopt: bool) -> None:
    try:
        file = Ledger.read(path)
    except ValueError as error:
        aside = _set_aside(path, 'corrupt')
        say(f'{error}. It is kept as {aside.name}; training goes on without it')
        return
    if adopt or file.run == ledger.run:
        ledger.run = file.run
        ledger.lose(file)
        return
    aside = _set_aside(path, 'earlier')
    say(f'{path} is of another run; it is kept as {aside.name}', level=logging.INFO)


def _set_aside(path: Path, why: str) -> Path:
    stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(path.stat().st_mtime))
    ends = chain([''], (f'-{number}' for number in count(2)))
    names = (path.with_name(f'cost.{why}-{stamp}{end}.json') for end in ends)
    return path.rename(next(name for name in names if not name.exists()))
