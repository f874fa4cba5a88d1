"""Count the pictures and labels of a data set, and name what is missing or malformed.

    python tools/check_data.py CONFIG
    python tools/check_data.py --format dota data/split_ss_dota
    python tools/check_data.py --format dior data/DIOR

A config of DOTA, DIOR-R or a data set of MMSegmentation (LoveDA, iSAID) is checked on the files
of its loaders; a folder in the layout of configs/_base_/datasets/ (DOTA after MMRotate's
img_split.py). Files are read as training reads them; of each flaw it is said whether training stops
there. The last line is the verdict. Ends with status 1 if anything is wrong.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import add_cfg_options, check_positive, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('source', help='config file, or with --format the folder of the data')
    parser.add_argument('--format', choices=['dota', 'dior'], help='layout of the folder')
    parser.add_argument(
        '--quick',
        action='store_true',
        help='read the headers of pictures only; truncated ones are not found then',
    )
    parser.add_argument('--jobs', type=int, help='processes; default: one a core')
    parser.add_argument('--show', type=int, default=10, help='flaws listed of each kind (10)')
    parser.add_argument('--out', type=Path, help='JSON file for the counts and all flaws')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_positive(parser, args, 'jobs')
    if args.show < 0:
        parser.error(f'--show must be 0 or more, got {args.show}')
    if not args.format and Path(args.source).is_dir():
        parser.error(f'{args.source!r} is a folder: name its layout with --format dota or dior')
    if args.out and args.out.is_dir():
        parser.error(f'--out must be a file, got the folder {str(args.out)!r}')
    if args.format and args.cfg_options:
        parser.error('--cfg-options is for a config, not for a folder')
    return args


class Bar:
    """A bar on a terminal; in a log file a line every ten seconds. Both say the time left."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.bar = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            from mmengine import ProgressBar

            self.bar = self.bar or ProgressBar(total, file=sys.stderr)
            self.bar.update()
            if done == total:
                print(file=sys.stderr)
        elif now - self.last >= 10:
            self.last = now
            from mmbackbone_plugins.utils.text import duration_text

            left = duration_text((now - self.start) / done * (total - done))
            print(f'{done:,} of {total:,} pictures, {left} left', file=sys.stderr, flush=True)


def work(args: argparse.Namespace) -> int:
    from mmbackbone_plugins.lab import launch
    from mmbackbone_plugins.lab.datasets import (
        check_masks,
        check_splits,
        splits_of_config,
        splits_of_root,
    )
    from mmbackbone_plugins.lab.processes import cores
    from mmbackbone_plugins.utils.files import atomic_write

    jobs = args.jobs or cores()
    if args.format:
        checked, check = splits_of_root(args.format, args.source), check_splits
    else:
        checked, check = launch.load_config(args.source, args.cfg_options), check_masks
        if checked.get('default_scope') != 'mmseg':
            checked, check = splits_of_config(checked), check_splits
    if args.out:  # a folder that cannot be written is found before the work, not after it
        args.out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out.parent).close()
    try:
        report = check(checked, not args.quick, jobs, Bar())
    except BrokenExecutor:
        raise OSError(f'one of {jobs} processes was killed; try fewer --jobs') from None
    if args.out:
        content = dict(source=args.source, decoded=not args.quick, **report.to_dict())
        with atomic_write(args.out) as file:
            file.write(json.dumps(content, indent=1) + '\n')
        print(f'wrote {args.out}\n')
    print(report.text(args.show))
    return 1 if report.flaws else 0


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
