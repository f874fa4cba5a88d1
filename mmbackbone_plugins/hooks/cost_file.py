"""Opens the ledger of a run: a new one, or that of the part before, and its file."""

import logging
import time
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from ..cost.ledger import Ledger


def open_ledger(runner, path: Path, saved: Optional[Any], resumed: bool) -> Ledger:
    """The ledger to go on with; a file that is not of this run is kept aside.

    Args:
        runner: The runner, in ``before_train``: its iteration is known by then.
        path: The file of the ledger.
        saved: What the checkpoint had, if the run resumes from one.
        resumed: Whether it does.

    Returns:
        The ledger. What the file knows of steps that will be done again is booked as lost.
    """
    done = runner.iter
    ledger = Ledger(iteration=done, unrecorded_steps=done)
    if saved is not None:
        try:
            ledger = Ledger.from_dict(saved)
        except ValueError as error:
            say(f'the cost record of the checkpoint is left out: {error}')
    elif resumed:
        say(
            f'the run that is resumed has no cost record of its first {done} iterations: it was '
            'trained without this hook'
        )
    if is_main_process() and path.exists():
        # Asked to resume, but killed before its first checkpoint: the same run all the same.
        _meet_file(ledger, path, adopt=runner._resume and not resumed)
    return ledger


def say(text: str, level: int = logging.WARNING) -> None:
    """A line of the log, of rank 0; a warning by default."""
    if is_main_process():
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
    aside = path.with_name(f'cost.{why}-{stamp}.json')
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f'cost.{why}-{stamp}-{number}.json')
    return path.rename(aside)
