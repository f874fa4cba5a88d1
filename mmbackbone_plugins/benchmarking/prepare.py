"""What runs need before they start: made once, by the plan's own commands."""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from ..cost.report import duration_text
from .plan import Step


def prepare(steps: Iterable[Step], say: Callable[[str], None] = print) -> None:
    """Runs the commands whose product is not there.

    Args:
        steps: The commands, in order.
        say: Where a line about the state goes; what a command prints goes to the screen.

    Raises:
        RuntimeError: If a command fails, or does not make what it should.
    """
    steps = list(steps)
    for number, step in enumerate(steps, start=1):
        if Path(step.makes).exists():
            continue
        say(f'preparing ({number} of {len(steps)}): {step.run}')
        start = time.monotonic()
        status = subprocess.run(step.run, shell=True, stdin=subprocess.DEVNULL).returncode
        if status != 0:
            raise RuntimeError(f'prepare: exit status {status} of: {step.run}')
        if not Path(step.makes).exists():
            raise RuntimeError(f'prepare: {step.makes} is still missing after: {step.run}')
        say(f'made {step.makes}, {duration_text(time.monotonic() - start)}')
