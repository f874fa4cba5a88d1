"""Commands in the pages: all of them, how each is run here, and why a few are not.

A command is a line of a ``bash`` block. It is run as it stands, in a copy of the repository whose
configs are small and whose data are drawn (:mod:`mirror`), with two changes: placeholders become
files of that copy, and :data:`REDUCTIONS` make it short. What cannot be run is in :data:`EXCUSED`
with the reason. A command that is neither is a failure of ``test_commands.py``.
"""

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pages

# Words in capitals that stand for something of the reader's.
PLACEHOLDERS = (
    *('CONFIG', 'OTHER_CONFIG', 'CHECKPOINT', 'OTHER_CHECKPOINT', 'WORK_DIR', 'OTHER_WORK_DIR'),
    *('FOLDER', 'FILE', 'PARTITION', 'JOB_NAME', 'GPUS', 'ARGUMENTS', 'NAME'),
)
_CAPITALS = re.compile(r'(?<![\w./-])[A-Z][A-Z_]{3,}(?![\w.]|=[\d"])')

EXCUSED = {
    r'make (demo|setup|test)': 'sets up an environment; tests/test_demo.py runs the demo',
    r'git clone https://': 'needs a network',
    r'python tools/train.py configs/hituav/': 'needs the data set',
    r'python tools/train.py configs/segmentation/': 'test_segmentation.py trains all of them',
    r'python tools/data/hituav.py ': 'needs the data set; test_hituav.py draws one like it',
    r'source ': 'changes the shell that it is typed into',
    r'(\w+=("[^"]*"|\S+) )*pip install ': 'changes the environment; its versions are checked below',
    r'python3.9 -m venv ': 'makes an environment of the other family',
    r'python tools/benchmark.py (?!.*--dry-run)': (
        'trains for an hour, or wants what that has made; tests/test_benchmarking runs a small plan'
    ),
    r'mim train mmrotate ': 'of the OpenMMLab family; the other line of the pair is run',
    r'.* --device cuda': 'needs a GPU; the same command without it is run',
    r'(srun|sbatch|squeue) |.*tools/slurm_(train|test)\.sh': 'needs a Slurm cluster',
    r'NNODES=': 'needs several machines',
    r'.*\[ARGUMENTS\]': 'the form of a command, not one',
    r'.* --amp': 'MMEngine refuses mixed precision without a GPU',
    r'torchrun .*tools/misc/check_distributed.py': 'takes minutes, and has tests of its own',
    r'mim \w+ mmbackbone_plugins ': 'needs an installed wheel: the tests of the packaging run mim',
    r'python -m build|\w+=\$\(': 'builds, or sets a variable of the shell that it is typed into',
    r'python tools/train.py [\w-]+_(dota|dior)(\.py)?$': (
        "by its name it is the zoo's own, whose data are not here; tests/test_launch.py has names"
    ),
    r'python tools/misc/class_balanced_loss.py .*_lvis.py': (
        'needs the package lvis; tests/test_tools/test_class_balanced_loss.py runs it on COCO'
    ),
    r'python tools/train.py work_dirs/balanced.py': 'the same; and a checkpoint on LVIS',
}

RUN_BY = ('python', 'torchrun', 'mim', 'sed', 'bash')

# What makes a command short enough for a test, and why the rest of it still says something.
REDUCTIONS = [
    (r'^torchrun --nproc_per_node \d+ ', 'torchrun --nproc_per_node 1 ', 'one gloo process'),
    (r'--gpus 1', '--gpus 0', 'on a CPU'),
    (r'(dist_(train|test)\.sh CONFIG( CHECKPOINT)?) \d+', r'\1 1', 'one gloo process'),
    (r'--images 320 40 0', '--images 4 2 0', 'fewer drawn scenes'),
    (r'--images 40 10 10', '--images 2 1 1', 'fewer drawn scenes'),
    (r'--split val --jobs 8', '--split test --jobs 2', 'no scores on val in the copy'),
    (r' --choose val', ' --split test', 'no scores on val in the copy'),
    (r'--images 0 40 40', '--images 0 2 2', 'fewer drawn scenes'),
    (r'--images 200', '--images 4', 'fewer images to look at'),
    (r'--shape 1024 1024', '--shape 256 256', 'the smallest on which NAS-FPN has statistics'),
    (r'iter_160000\.pth', 'iter_2.pth', 'loops of iterations are two steps long'),
    (r'epoch_1[02]\.pth', 'epoch_2.pth', 'no run is longer than two epochs'),
    (r'probe=12', 'probe=2', 'the same'),
    (r'/big/DIOR/', 'data/toy_demo/', 'the data of the config that stands for CONFIG'),
    (r'^(python benchmarks/\w+\.py)$', r'\1 --size 64 --rounds 1', 'small pictures, one round'),
]


@dataclass(frozen=True)
class Command:
    """A line of a ``bash`` block, its continuation lines joined and its comment taken off."""

    text: str
    page: str  # the first one that has it

    @property
    def excuse(self) -> str:
        """Why it is not run; empty if it is."""
        return next((why for what, why in EXCUSED.items() if re.match(what, self.text)), '')

    @property
    def placeholders(self) -> list[str]:
        return _CAPITALS.findall(self.text)

    @property
    def configs(self) -> list[str]:
        """Files of the zoo that it names."""
        return re.findall(r'(?<![\w/])configs/\S+\.py', self.text)

    def reduced(self) -> str:
        text = self.text
        for what, instead, _ in REDUCTIONS:
            text = re.sub(what, instead, text)
        return text


def _split(code: str) -> list[str]:
    lines = re.sub(r'\\\n\s*', ' ', code).splitlines()
    found = (re.sub(r'(^|\s+)#.*$', '', line).strip() for line in lines)
    return [re.sub(r'\s+', ' ', line) for line in found if line]


@functools.cache
def collect() -> tuple[Command, ...]:
    """Every different command; those that draw data, which others need, come first."""
    found: dict[str, Command] = {}
    for page in pages.all_pages():
        for block in pages.blocks(page):
            if block.language == 'bash':
                for text in _split(block.code):
                    found.setdefault(text, Command(text, pages.name(page)))
    return tuple(sorted(found.values(), key=lambda c: 'make_toy_data' not in c.text))


def to_run() -> list[Command]:
    return [command for command in collect() if not command.excuse]


def split(text: str) -> tuple[dict[str, str], list[str]]:
    """Variables set in front of a command, and its words."""
    words = shlex.split(text)
    variables = {}
    while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
        key, _, value = words.pop(0).partition('=')
        variables[key] = value
    return variables, words


def faults(command: Command) -> list[str]:
    """What is wrong with a command as it is written, without running it."""
    found = []
    unknown = set(command.placeholders) - set(PLACEHOLDERS)
    if unknown:
        found.append(f'placeholders {sorted(unknown)} are not known to tests/test_docs')
    found += [f'{c} does not exist' for c in command.configs if not (pages.ROOT / c).is_file()]
    _, words = split(command.text)
    if words[0] not in RUN_BY and not words[0].startswith('tools/'):
        return [*found, f'nothing runs {words[0]!r} here, and no excuse is given']
    scripts = [w for w in words if re.fullmatch(r'(tools|benchmarks)/.*\.(py|sh)', w)]
    if words[0] == 'python' and '-m' not in words and not scripts:
        found.append('it runs no script of the repository')
    for script in scripts:
        path = pages.ROOT / script
        if not path.is_file():
            found.append(f'{script} does not exist')
        elif path.suffix == '.py':
            source = _source(path)
            after = words[words.index(script) :]
            options = [w.partition('=')[0] for w in after if w.startswith('--')]
            found += [
                f'{script} has no option {option}'
                for option in options
                if f"'{option}'" not in source and option != '--help'
            ]
    return found


def _source(path: Path) -> str:
    """A tool with what it shares with its neighbours."""
    text = path.read_text(encoding='utf-8')
    for shared in (pages.ROOT / 'tools/command_line.py', pages.ROOT / 'benchmarks/common.py'):
        text += shared.read_text(encoding='utf-8') if f'from {shared.stem}' in text else ''
    return text
