"""What ``import mmbackbone_plugins`` adds to what a training imports anyway.

    python benchmarks/import_time.py --rounds 5

Each figure is of a new interpreter, which imports the base first and the package then. Wall time is
what a user waits; CPU time says the same where other work shares the cores.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from common import report

BASES = {
    'mmengine': 'import mmengine.runner',
    "mmengine and mmdet's models": 'import mmengine.runner, mmdet.models',
}
SCRIPT = """
import time
start = time.process_time()
{base}
wall, cpu = time.perf_counter(), time.process_time()
import mmbackbone_plugins
print(time.perf_counter() - wall, time.process_time() - cpu, cpu - start)
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='interpreters started for a figure')
    parser.add_argument('--slowest', type=int, default=5, help='modules to name')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    return parser.parse_args()


def python(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-W', 'ignore', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def seconds(base: str) -> list[float]:
    """Wall and CPU time of one import, and CPU time of the base's."""
    words = python('-c', SCRIPT.format(base=base)).stdout.splitlines()[-1].split()
    return [float(word) for word in words]


def slowest(base: str, count: int) -> dict[str, float]:
    """Modules that the import brings by the milliseconds they take themselves."""
    lines = python('-X', 'importtime', '-c', f'{base}\nimport mmbackbone_plugins').stderr
    found = {}
    inside = []  # a module's line comes after those of what it imports
    for line in lines.splitlines():
        if line.startswith('import time:') and line.count('|') == 2 and 'imported' not in line:
            own, _, name = line.removeprefix('import time:').split('|')
            inside.append((len(name) - len(name.lstrip()), name.strip(), int(own) / 1000))
    last = inside.pop()
    assert last[1] == 'mmbackbone_plugins', last
    found[last[1]] = last[2]
    for depth, name, own in reversed(inside):
        if depth <= last[0]:
            break
        found[name] = own
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:count])


def main() -> None:
    args = parse_args()
    figures = dict(python=sys.version.split()[0])
    for name, base in BASES.items():
        seconds(base)  # compiled files and the disk's cache
        found = [seconds(base) for _ in range(args.rounds)]
        wall, cpu, before = zip(*found)
        figures[f'on top of {name}'] = dict(
            wall=round(statistics.median(wall), 3),
            cpu=round(statistics.median(cpu), 3),
            of_base=statistics.median(a / b for a, b in zip(cpu, before)),
            all_wall=[round(one, 3) for one in wall],
        )
    figures['slowest modules, ms'] = slowest(BASES['mmengine'], args.slowest)
    report(args, figures)


if __name__ == '__main__':
    main()
