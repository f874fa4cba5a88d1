"""What the tools share: their parsers, and what is refused as one line.

It imports nothing that takes long, so that --help answers at once.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Callable


def make_parser(text: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a tool's docstring as it is."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=text, formatter_class=formatter)


def add_cfg_options(parser: argparse.ArgumentParser, more: str = '') -> None:
    from mmengine.config import DictAction

    text = f'override settings of the config, as key=value with dotted keys{more}'
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help=text)


def add_shape(parser: Any, of: str = 'input size in pixels') -> None:
    text = f'{of}; default: read off the training pipeline'
    parser.add_argument('--shape', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help=text)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """What costs of a training depend on besides its config."""
    add_shape(parser)
    text = 'images in an epoch; default: length of the training set if its files are here'
    parser.add_argument('--images', type=int, help=text)


def add_sweep_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """What the tools that score a detector on several test sets have in common."""
    parser.add_argument(
        '--jobs',
        type=int,
        default=0,
        help='processes; default: one a GPU, else one a core (one thread each: the numbers are '
        'the same however many)',
    )
    parser.add_argument('--device', help='default: the GPUs in turn, else the CPU')
    parser.add_argument('--num-workers', type=int, help="loading processes; default: the config's")
    text = f'folder; default: {folder} in the work dir of the config'
    parser.add_argument('--out', type=Path, metavar='FOLDER', help=text)
    add_cfg_options(parser)


def check_positive(parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be a positive integer, got {value}')
    if getattr(args, 'shape', None) and min(args.shape) < 1:
        parser.error(f'--shape must be two positive integers, got {args.shape}')


def run_tool(work: Callable[..., Any], *args: Any) -> int:
    """Does the work of a tool: status 2 and one line where something is refused."""
    try:
        from mmbackbone_plugins.lab import console
        from mmbackbone_plugins.lab.datasets import labels_explained

        console.adapt()
        with labels_explained():
            return work(*args) or 0
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
