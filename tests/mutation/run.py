"""Breaks the package on purpose, a line at a time, and looks whether the tests named for it fail.

python tests/mutation/run.py              all of them, about a quarter of a minute each
python tests/mutation/run.py freezing cost  those whose name contains one of the words
python tests/mutation/run.py --list

A mutation that no test notices is a test that cannot fail. The package is copied and the copy is
broken: the checkout stays as it is. Exit status 1 if a mutant survives, or does not apply any more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    'mmbackbone_plugins',
    'tests',
    'configs',
    'docs/reference',
    'tools',
    'pyproject.toml',
    'setup.py',
)


def copy_of_checkout(folder: Path) -> Path:
    skip = shutil.ignore_patterns('__pycache__', '.mim', 'work_dirs')
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=skip)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def tests_fail(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether one of the tests fails; an error in collecting them is an error here."""
    command = [sys.executable, '-m', 'pytest', '-x', '-q', '-p', 'no:cacheprovider', *tests]
    env = dict(os.environ, PYTHONPATH=str(copy), OMP_NUM_THREADS='1')
    done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # nothing collected, a wrong name, ...
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode == 1


def outcome(copy: Path, mutation: Mutation) -> str:
    """``'red'``, ``'SURVIVES'`` or ``'does not apply'``."""
    path = copy / 'mmbackbone_plugins' / mutation.file
    before = path.read_text()
    if before.count(mutation.old) != 1:
        return f'does not apply: {before.count(mutation.old)} places'
    path.write_text(before.replace(mutation.old, mutation.new))
    try:
        return 'red' if tests_fail(copy, mutation.tests) else 'SURVIVES'
    finally:
        path.write_text(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('words', nargs='*', help='parts of names; default: all mutations')
    parser.add_argument('--list', action='store_true', help='only show their names')
    args = parser.parse_args()
    chosen = [m for m in MUTATIONS if not args.words or any(w in m.name for w in args.words)]
    if args.list or not chosen:
        print('\n'.join(m.name for m in chosen) or f'no name contains any of {args.words}')
        return 0 if chosen else 2
    with tempfile.TemporaryDirectory(prefix='mutation-') as folder:
        copy = copy_of_checkout(Path(folder))
        wrong, start = 0, time.monotonic()
        for number, mutation in enumerate(chosen, 1):
            found = outcome(copy, mutation)
            wrong += found != 'red'
            left = (time.monotonic() - start) / number * (len(chosen) - number)
            print(f'[{number}/{len(chosen)}, {left / 60:.0f} min left] {mutation.name}: {found}')
            sys.stdout.flush()
    print(f'{len(chosen) - wrong} of {len(chosen)} mutations are red')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
