"""Builds, and virtual environments that see the stack but not the checkout."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path


def call(*command, **options):
    """Runs a command; its output is in the report if it fails."""
    pipes = dict(capture_output=True, text=True, timeout=500, **options)
    done = subprocess.run([os.fspath(part) for part in command], **pipes)
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done


def pip_wheel(source, folder):
    pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    call(*pip, '-w', folder, source)
    (found,) = folder.glob('*.whl')
    return found


class Environment:
    """A virtual environment that sees the stack of the running one, but not its packages' metadata
    of this project, nor the checkout."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.work = work
        self.python = folder / ('Scripts' if os.name == 'nt' else 'bin') / 'python'
        call(sys.executable, '-m', 'venv', '--without-pip', folder)
        (self.site,) = folder.rglob('site-packages')

    def install(self, *arguments) -> None:
        # Before the stack is seen, so that pip does not meet what is installed there.
        pip = [sys.executable, '-m', 'pip', '--python', self.python, 'install', '-q']
        call(*pip, '--no-deps', '--no-index', *arguments, env=self.variables())

    def see_the_stack(self) -> None:
        """Behind the environment's own packages, and without running their ``.pth`` files."""
        names = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmrotate', 'mim', 'setuptools')
        found = {Path(find_spec(name).origin).parents[1] for name in names if find_spec(name)}
        (self.site / 'stack.pth').write_text('\n'.join(sorted(map(str, found))))

    def variables(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'COV_'))}
        return {**kept, 'OMP_NUM_THREADS': '1', 'PYTHON': str(self.python)}

    def run(self, *arguments):
        """Runs its interpreter in the working folder."""
        return call(self.python, *arguments, cwd=self.work, env=self.variables())
