"""Determine a ResNet's widths from what the features of a trained detector span.

    python tools/analysis_tools/determine_widths.py CONFIG CHECKPOINT -o NEW_CONFIG

Every width becomes proportional to the intrinsic dimensionality of the feature map there, by one
factor for all, as large as the multiply-adds of CONFIG allow. NEW_CONFIG inherits CONFIG and trains
from random weights.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, add_shape, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config of the trained detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('-o', '--out', type=Path, required=True, help='config file to write')
    parser.add_argument('--force', action='store_true', help='overwrite the file of --out')
    parser.add_argument(
        '--inherit',
        metavar='CONFIG',
        help='config that the new one inherits, such as one with a longer schedule; its '
        'multiply-adds are the budget; default: CONFIG',
    )
    measured = parser.add_argument_group('what the features span')
    measured.add_argument('--split', choices=['train', 'val'], default='train')
    measured.add_argument('--images', type=int, default=200, help='images to look at')
    measured.add_argument(
        '--threshold', type=float, default=1e-3, help='eigenvalues above it are counted'
    )
    measured.add_argument(
        '--relative', action='store_true', help='the threshold is relative to the largest one'
    )
    measured.add_argument(
        '--bootstrap', type=int, default=20, help='resamples of the images for intervals; 0: none'
    )
    measured.add_argument('--seed', type=int, default=0, help='of images and resamples')
    measured.add_argument('--device', help='default: the first GPU, else the CPU')
    made = parser.add_argument_group('the new widths')
    made.add_argument(
        '--multiple', type=int, help='of every width; default: 8, and the groups of a group norm'
    )
    made.add_argument(
        '--budget', type=float, default=1.0, help="share of the baseline's multiply-adds"
    )
    made.add_argument(
        '--norm',
        choices=['auto', 'gn', 'bn'],
        default='auto',
        help="of the backbone; auto: the config's if it trains, else group norm",
    )
    made.add_argument('--num-groups', type=int, default=32, help='of a new group norm')
    add_shape(made, 'input size for multiply-adds')
    parser.add_argument('--plot', type=Path, help='picture file: widths before and after')
    add_cfg_options(parser, ', for the measurement (paths of data, workers); not in the new config')
    args = parser.parse_args(argv)
    for name in ('images', 'threshold', 'budget', 'multiple', 'num_groups'):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {value}')
    if args.relative and args.threshold >= 1:
        parser.error(f'--threshold must be below 1 with --relative, got {args.threshold}')
    if args.bootstrap < 0:
        parser.error(f'--bootstrap must not be negative, got {args.bootstrap}')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape must be two positive integers, got {args.shape}')
    wrong = [key for key in args.cfg_options or {} if key.split('.')[0] == 'model']
    if wrong:
        parser.error(
            f'--cfg-options may not change the model, got {wrong}: the new config inherits CONFIG '
            'without them; put them into a config file'
        )
    return args


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab.widths import WidthStudy

    WidthStudy(args).run()


def main(argv=None) -> int:
    args = parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else [str(part) for part in argv]
    return run_tool(work, args)


# The guard matters: workers of data loaders may spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
