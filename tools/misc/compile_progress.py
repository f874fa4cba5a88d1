#!/usr/bin/env python
"""Run a pip build that compiles with ninja, and show how far it is.

    compile_progress.py --log FILE --label TEXT -- pip wheel -v ...

Everything the command prints goes to the log. On a terminal one line is redrawn with the
percentage and the time left; elsewhere a line is printed every ten percent. Exits with the
command's status. Uses the standard library only: it runs before anything is installed.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

NINJA_STEP = re.compile(r'^\s*\[(\d+)/(\d+)\] ')
GIB = 1024**3


def clock(seconds: float) -> str:
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def describe(step: int, total: int, elapsed: float) -> str:
    """One progress text; the time left assumes that steps cost alike."""
    left = elapsed / step * (total - step)
    return f'{100 * step // total:3d} % ({step}/{total} files), {clock(left)} left'


def memory_bytes() -> float:
    """Memory this process may use: what is available, or the container's limit if that is less."""
    limit = float('inf')
    try:
        meminfo = Path('/proc/meminfo').read_text()
        limit = int(re.search(r'MemAvailable:\s+(\d+)', meminfo).group(1)) * 1024
    except (OSError, AttributeError):
        pass
    for name in ('memory.max', 'memory/memory.limit_in_bytes'):  # cgroup 2, cgroup 1
        try:
            limit = min(limit, int((Path('/sys/fs/cgroup') / name).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            pass
    return limit


def job_count(bytes_per_job: float = 2 * GIB) -> int:
    """As many compilers as there are cores, and as fit into memory (about 2 GB each)."""
    has_affinity = hasattr(os, 'sched_getaffinity')
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return int(max(1, min(cores, memory_bytes() // bytes_per_job)))


class Progress:
    """Turns ninja's ``[k/n]`` lines into one redrawn line or a few plain ones."""

    def __init__(self, label: str, stream, tty: bool, start: float):
        self.label, self.stream, self.tty, self.start = label, stream, tty, start
        self.next_percent = 0
        self.compiled = False

    def feed(self, line: str, now: float) -> None:
        match = NINJA_STEP.match(line)
        if not match:
            return
        step, total = int(match.group(1)), int(match.group(2))
        self.compiled = True
        text = f'{self.label} {describe(step, total, now - self.start)}'
        if self.tty:
            self.stream.write(f'\r\033[K{text}')
            self.stream.flush()
        elif 100 * step >= self.next_percent * total:
            self.stream.write(f'{text}\n')
            self.stream.flush()
            self.next_percent = (100 * step // total) // 10 * 10 + 10

    def close(self, ok: bool, seconds: float) -> None:
        how = 'compiled' if self.compiled else 'a ready wheel was found'
        end = f'{how}, {seconds:.0f} s' if ok else f'failed after {seconds:.0f} s'
        lead = '\r\033[K' if self.tty else ''
        self.stream.write(f'{lead}{self.label} {end}\n')
        self.stream.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--log', required=True, help='file the output is added to')
    parser.add_argument('--label', default='compiling', help='text in front of the progress')
    parser.add_argument('command', nargs='+', help='after --: the command and its arguments')
    args = parser.parse_args()

    env = dict(os.environ)
    env.setdefault('MAX_JOBS', str(job_count()))  # ninja through torch reads it
    start = time.monotonic()
    progress = Progress(args.label, sys.stdout, sys.stdout.isatty(), start)
    if progress.tty:
        sys.stdout.write(f'{args.label} ...')
        sys.stdout.flush()
    with open(args.log, 'a', encoding='utf-8', errors='replace') as log:
        log.write(f'MAX_JOBS={env["MAX_JOBS"]} {" ".join(args.command)}\n')
        process = subprocess.Popen(
            args.command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        )
        for line in process.stdout:
            log.write(line)
            log.flush()
            progress.feed(line, time.monotonic())
        status = process.wait()
    progress.close(status == 0, time.monotonic() - start)
    return status if status >= 0 else 128 - status


if __name__ == '__main__':
    sys.exit(main())
