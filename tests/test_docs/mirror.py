"""A copy of the repository for the commands: drawn data, and configs that a CPU trains in seconds.

Everything is where a reader has it, by the same names; folders of code are links.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import commands
import pages

LINKED = ('benchmarks', 'mmbackbone_plugins', 'tools', 'tests', 'model-index.yml')
SERVER = Path(__file__).with_name('server.py')
SMALL = Path(__file__).with_name('small_configs.py')


class Shell:
    """Runs command lines in the mirror, in forks of one process that has imported the stack."""

    def __init__(self, root: Path) -> None:
        self.root = root
        here = Path(__file__).parent
        paths = [pages.ROOT, pages.ROOT / 'tests', here, here.parent / 'test_configs']
        env = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
        env['PYTHONPATH'] = os.pathsep.join(map(str, paths))
        env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.server = subprocess.Popen(
            [sys.executable, str(SERVER)], cwd=root, env=env, bufsize=1, **pipes
        )

    def run(self, text: str) -> tuple[int, str]:
        """Status of a command line, and the end of what it said."""
        variables, words = commands.split(text)
        log = self.root / 'output.txt'
        order = dict(text=text, words=words, variables=variables, log=str(log))
        self.server.stdin.write(json.dumps(order) + '\n')
        self.server.stdin.flush()
        status = self.server.stdout.readline()
        said = log.read_text(errors='replace') if log.exists() else ''
        return int(status or -1), said[-6000:]

    def done(self, text: str) -> None:
        status, said = self.run(text)
        assert status == 0, f'{text}\n{said}'

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(timeout=30)


def make(root: Path) -> Shell:
    """Fills an empty folder, and starts its shell."""
    for name in LINKED:
        (root / name).symlink_to(pages.ROOT / name)
    for path in (pages.ROOT / 'configs').rglob('*'):
        if path.is_file() and '__pycache__' not in path.parts:
            link = root / path.relative_to(pages.ROOT)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    shell = Shell(root)
    named = sorted({config for command in commands.to_run() for config in command.configs})
    shell.done(f'python {SMALL} {" ".join(named)}')
    return shell


def fill_in(command: commands.Command, shell: Shell) -> str:
    """The command line with files of the mirror in place of what is the reader's own."""
    if 'make_toy_data' not in command.text:
        _toy_data(shell)
    words = []
    config = 'CONFIG.py'
    for word in command.reduced().split(' '):
        name, equals, value = word.rpartition('=')
        if value in ('CONFIG', 'OTHER_CONFIG'):
            value = f'{value}.py'
        if value.endswith('.py') and not name and value.startswith(('CONFIG', 'OTHER', 'configs')):
            config = value
        if name == 'OTHER_CONFIG':
            name = 'OTHER_CONFIG.py'
        if value in ('CHECKPOINT', 'OTHER_CHECKPOINT'):
            value = _checkpoint(shell, config if value == 'CHECKPOINT' else 'OTHER_CONFIG.py')
        if value in ('WORK_DIR', 'OTHER_WORK_DIR'):
            value = _work_dir(shell, value)
        if value == 'FILE':
            value = _checkpoint(shell, config)
        words.append(f'{name}{equals}{value}')
    # A reader's folder is a fresh one: what another command has written is not in the way.
    for option, target in zip(words, words[1:]):
        if option in ('-o', '--out') and (shell.root / target).is_file():
            (shell.root / target).unlink()
    return ' '.join(words)


def _toy_data(shell: Shell) -> None:
    """What a page's own command draws, for a test that runs without that command's."""
    if not (shell.root / 'data/toy_demo').exists():
        draws = (c for c in commands.to_run() if '--out data/toy_demo ' in c.text)
        shell.done(next(draws).reduced())


def _checkpoint(shell: Shell, config: str) -> str:
    path = f'checkpoints/{Path(config).stem}.pth'
    if not (shell.root / path).exists():
        shell.done(f'python {SMALL} --checkpoint {config} {path}')
    return path


def _work_dir(shell: Shell, name: str) -> str:
    folder = f'work_dirs/{name}'
    if not (shell.root / folder).exists():
        config = name.replace('WORK_DIR', 'CONFIG.py')
        shell.done(f'python tools/train.py {config} --work-dir {folder}')
    return folder
