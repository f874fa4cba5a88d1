"""Whether what the package costs has changed: all benchmarks, small, against committed ratios.

    make bench
    python benchmarks/guard.py --only rgn_overhead stage_blocks
    python benchmarks/guard.py --update --runs 3       # rewrites ratios.json

A row of ratios.json is a dotted key of a benchmark's JSON, or the quotient of two. Each
runs with one thread and reads the clock of its CPU, which other work hardly moves. What has grown
by more than the row's tolerance is shown; by more than three times it fails, if running the
benchmark twice more shows it again: the smallest figure counts.
"""

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

from common import machine, table

HERE = Path(__file__).parent
RATIOS = HERE / 'ratios.json'
TRIES = 3  # of a benchmark with a row that fails
LIMIT = 900  # seconds, after which none is started
FAILS = 'FAILS'


def lookup(figures: Any, row: str) -> Optional[float]:
    """The figure of a row; None where the benchmark did not give a positive one."""
    numbers = []
    for key in row.split(' / '):
        found = figures
        for name in key.split('.'):
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, (int, float)) or not 0 < found < math.inf:
            return None
        numbers.append(found)
    return numbers[0] / numbers[1] if len(numbers) == 2 else numbers[0]


def verdict(found: Optional[float], ratio: float, tolerance: float) -> str:
    """What there is to say of a row: nothing within its tolerance."""
    if found is None:
        return f'{FAILS}: no such figure'
    change = found / ratio - 1
    if change > 3 * tolerance:
        return f'{FAILS}: grown by more than three tolerances'
    if abs(change) <= tolerance:
        return ''
    return 'grown' if change > 0 else 'shrunk; `--update` would keep it'


def smallest(figures: list[Any], row: str) -> Optional[float]:
    return min(filter(None, (lookup(one, row) for one in figures)), default=None)


def failing(benchmark: dict, figures: list[Any]) -> bool:
    rows = benchmark['rows'].items()
    return any(verdict(smallest(figures, row), **of).startswith(FAILS) for row, of in rows)


def run(name: str, options: str) -> dict[str, Any]:
    """A benchmark's figures, of a process with one thread."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'figures.json')
        command = [sys.executable, '-W', 'ignore', str(HERE / f'{name}.py'), *options.split()]
        done = subprocess.run(
            [*command, '--out', str(out)], env=environment, capture_output=True, text=True
        )
        if done.returncode or not out.is_file():
            raise SystemExit(f'{name} ended with {done.returncode}:\n{done.stderr[-2000:]}')
        return json.loads(out.read_text())


def measure(benchmarks: dict[str, dict], runs: int, retry: bool) -> dict[str, list[Any]]:
    """Figures of every run; where a machine is so busy that time is up, of fewer benchmarks."""
    figures: dict[str, list[Any]] = {}
    begun = time.perf_counter()
    for number, (name, benchmark) in enumerate(benchmarks.items(), start=1):
        found: list[Any] = []
        title = f'[{number}/{len(benchmarks)}] {name} {benchmark["options"]}'
        while len(found) < runs or (retry and len(found) < TRIES and failing(benchmark, found)):
            start = time.perf_counter()
            if retry and start - begun > LIMIT:
                print(f'{title}: left out after {LIMIT} s', flush=True)
                found = []  # seen once, a step may be noise
                break
            found.append(run(name, benchmark['options']))
            print(f'{title}: {time.perf_counter() - start:.0f} s', flush=True)
        figures[name] = found
    return {name: found for name, found in figures.items() if found}


def update(committed: dict, figures: dict[str, list[Any]]) -> None:
    """Takes medians; a tolerance is widened to what the runs differ by, never narrowed."""
    of = machine('cpu')
    committed.update(date=str(datetime.date.today()), machine=of['machine'], torch=of['torch'])
    for name, runs in figures.items():
        for row, now in committed['benchmarks'][name]['rows'].items():
            found = [value for value in (lookup(one, row) for one in runs) if value is not None]
            if not found:
                raise SystemExit(f'{name} gives no figure for {row!r}')
            middle = statistics.median(found)
            spread = (max(found) - min(found)) / middle
            now['ratio'] = float(f'{middle:.4g}')
            now['tolerance'] = max(now['tolerance'], math.ceil(100 * spread) / 100)
    RATIOS.write_text(json.dumps(committed, indent=2) + '\n')


def main() -> int:
    committed = json.loads(RATIOS.read_text())
    benchmarks = committed['benchmarks']
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--update', action='store_true', help='rewrite ratios.json')
    parser.add_argument('--runs', type=int, default=1, help='how often each benchmark is run')
    parser.add_argument('--only', nargs='+', choices=benchmarks, default=list(benchmarks))
    args = parser.parse_args()
    start = time.perf_counter()
    figures = measure({n: benchmarks[n] for n in args.only}, args.runs, retry=not args.update)
    rows, failed = [], False
    for name in figures:
        for row, of in benchmarks[name]['rows'].items():
            found = smallest(figures[name], row)
            said = verdict(found, **of)
            failed |= said.startswith(FAILS)
            shown = 'none' if found is None else f'{found:.4g}'
            rows.append((name, row, f'{of["ratio"]:.4g}', shown, f'{of["tolerance"]:.0%}', said))
    table(('benchmark', 'row', 'committed', 'now', 'tolerance', ''), rows)
    print(f'\n{time.perf_counter() - start:.0f} s; committed on {committed["date"]}')
    if args.update:
        update(committed, figures)
        return 0
    of = {key: committed[key] for key in ('machine', 'torch')}
    if of.items() <= machine('cpu').items():
        return int(failed)
    print(f'Nothing fails here: the ratios are of {of}.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
