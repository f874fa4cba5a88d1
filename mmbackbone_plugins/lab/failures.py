"""How a run that cannot go on says why: in one line, the last one on the screen."""

import logging
import re
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable, Optional

from mmengine import registry
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..registry import registered_names
from ..utils.names import nearest

# Errors with a message for users. Of others the kind is told too: 'boat' says nothing, a KeyError
# of it does.
FOR_USERS = (ImportError, OSError, ValueError)
LONGEST = 1500  # characters; torch lists every key of a checkpoint that does not fit
_UNKNOWN = re.compile(r'(\S+) is not in the (?:\w+::)?([\w ]+) registry')


def reason(error: BaseException) -> str:
    """What happened, as one line; where mmengine does not know a name, with the nearest one."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    unknown = _UNKNOWN.search(text)
    if unknown:
        known = [r for r in vars(registry).values() if getattr(r, 'name', None) == unknown[2]]
        return unknown[0] + (nearest(unknown[1], registered_names(known[0])) if known else '')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and 'in DataLoader worker process' in lines[0]:
        lines = lines[-1:]  # above it is the traceback of the worker
    text = '; '.join(lines)
    text = textwrap.shorten(text, LONGEST, placeholder=' ...')
    if text and isinstance(error, FOR_USERS):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


@contextmanager
def told(record: Callable[[str], None] = lambda line: None) -> Iterator[Callable[[Runner], Runner]]:
    """Ends the process of a run that fails with one last line that says why.

    Before the first step that is a matter of the config, the data or the machine: the traceback
    goes into the log file, and the exit status is 2. Later it is on the screen as well, the line
    says how far the run had come, and the status is 1.

    Yields:
        What the runner goes through as soon as it is built.
    """
    begun = _Begun()

    def watch(runner: Runner) -> Runner:
        runner.register_hook(begun, 'LOWEST')
        return runner

    try:
        yield watch
    except Exception as error:
        line = reason(error)
        if get_rank() > 0:
            line = f'rank {get_rank()}: {line}'
        if begun.where:
            line = f'{begun.where}: {line}'
        trace = traceback.format_exc()
        kept = _into_log_file(trace)
        sys.stdout.flush()
        if begun.where or (kept is None and not isinstance(error, FOR_USERS)):
            print(trace, file=sys.stderr)
        elif kept is not None:
            print(f'traceback: {kept}', file=sys.stderr)
        print(f'error: {line}', file=sys.stderr, flush=True)
        record(line)
        raise SystemExit(1 if begun.where else 2) from None


class _Begun(Hook):
    """Where a run is, once it has begun."""

    where = ''

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.where = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}'

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.where = f'test batch {batch_idx + 1}'


def _into_log_file(text: str) -> Optional[str]:
    """Writes into the log file of the run alone; returns its path if there is one."""
    logger = MMLogger.get_current_instance()
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    for handler in files:
        handler.emit(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, text, (), None))
    return files[0].baseFilename if files else None
