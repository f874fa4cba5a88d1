"""What runs need before they start: made once, by the plan's own commands."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from ...utils.text import duration_text
from .plan import Step


def prepare(steps: Iterable[Step], say: Callable[[str], None] = print) -> None:
    """Runs the commands whose product is not there; what they print goes to the screen.

    Their ``python`` is the one that runs this, whether or not its environment is activated.

    Raises:
        RuntimeError: If a command fails, or does not make what it should.
    """
    steps = list(steps)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', os.defpath)])
    env = {**os.environ, 'PATH': path}
    for number, step in enumerate(steps, start=1):
        if Path(step.makes).exists():
            continue
        say(f'preparing ({number} of {len(steps)}): {step.run}')
        start = time.monotonic()
        status = subprocess.call(step.run, shell=True, stdin=subprocess.DEVNULL, env=env)
        if status != 0:
            raise RuntimeError(f'prepare: exit status {status} of: {step.run}')
        if not Path(step.makes).exists():
            raise RuntimeError(f'prepare: {step.makes} is still missing after: {step.run}')
        say(f'made {step.makes}, {duration_text(time.monotonic() - start)}')
