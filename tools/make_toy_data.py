"""Draw small aerial scenes in the layout of DOTA or DIOR-R.

    python tools/make_toy_data.py --format dota --out data/toy_dota
    python tools/make_toy_data.py --format dior --out data/toy_dior --size 400 --style haze

The same seed draws the same objects in every style: draw twice for a pair of domains.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import make_parser, run_tool  # noqa: E402

# Written out, so that --help need not import the package; a test compares them with it.
STYLES = ('clear', 'haze', 'dusk', 'snow', 'arid', 'rain', 'sensor', 'blur')
DOTA = (
    'plane baseball-diamond bridge ground-track-field small-vehicle large-vehicle ship '
    'tennis-court basketball-court storage-tank soccer-ball-field roundabout harbor '
    'swimming-pool helicopter'
).split()
DIOR = (
    'airplane baseballfield basketballcourt bridge chimney groundtrackfield harbor ship stadium '
    'storagetank tenniscourt vehicle windmill'
).split()

# Where an option is called otherwise than the argument of the library.
OPTIONS = {'fmt': 'format', 'counts': 'images', 'styles': 'style'}


def build_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.epilog = f'classes of dota: {", ".join(DOTA)}\n\nclasses of dior: {", ".join(DIOR)}'
    parser.add_argument('--format', choices=('dota', 'dior'), default='dota', help='layout')
    parser.add_argument('--out', required=True, help='folder to write into')
    parser.add_argument(
        '--images',
        type=int,
        nargs=3,
        default=(160, 40, 40),
        metavar=('TRAIN', 'VAL', 'TEST'),
        help='pictures in each split (default: 160 40 40)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=256,
        help='side of the pictures in pixels (default: 256); larger ones show more objects',
    )
    parser.add_argument('--seed', type=int, default=0, help='another seed draws other scenes')
    parser.add_argument(
        '--style',
        nargs='+',
        default=('clear',),
        metavar='STYLE',
        help=f'looks, given out in turn; one or several of {", ".join(STYLES)} (default: clear)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default=(),
        metavar='CLASS',
        help='classes to draw (see below), or all; default: a handful that both data sets have',
    )
    parser.add_argument(
        '--density',
        type=float,
        default=8.0,
        help='mean number of objects on 256 x 256 pixels (default: 8)',
    )
    parser.add_argument(
        '--workers', type=int, default=0, help='processes that draw (default: 0, this one)'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace toy data that is in the folder already'
    )
    return parser


def work(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    from mmengine import ProgressBar

    from mmbackbone_plugins.lab.toy import make_toy_dataset, toy_settings

    options = dict(
        fmt=args.format,
        counts=args.images,
        size=args.size,
        seed=args.seed,
        styles=args.style,
        classes=args.classes,
        density=args.density,
    )
    try:
        toy_settings(**options)
        if args.workers < 0:
            raise ValueError(f'workers must be a whole number from 0, got {args.workers}')
    except ValueError as error:
        # The library names its arguments; here they are options.
        name, rest = re.match(r'(\w+)(.*)', str(error), re.S).groups()
        parser.error(f'--{OPTIONS.get(name, name)}{rest}')
    bar = ProgressBar(sum(args.images), start=False, file=sys.stdout)
    manifest = make_toy_dataset(
        args.out,
        **options,
        workers=args.workers,
        overwrite=args.overwrite,
        progress=lambda done, total: bar.update() if done else bar.start(),
    )
    print()
    for split, total in manifest['splits'].items():
        objects = ', '.join(f'{count} {name}' for name, count in total['objects'].items())
        print(f'{split}: {total["images"]} pictures; {objects}')
    print(f'written to {args.out}')


def main(argv=None) -> int:
    parser = build_parser()
    return run_tool(work, parser, parser.parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
