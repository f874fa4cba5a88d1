"""Cut HIT-UAV (infrared drone pictures, CC BY 4.0) into small tiles, by night and by day.

    git clone https://github.com/suojiashun/HIT-UAV-Infrared-Thermal-Dataset raw/hituav
    python tools/data/hituav.py raw/hituav --out data

writes data/hituav_night and data/hituav_day in DOTA's layout, split by flight.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('source', type=Path, help='checkout of the data set, with rotate_json')
    parser.add_argument('--out', type=Path, default=Path('data'), help='folder to write into')
    return parser.parse_args(argv)


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab.datasets.hituav import make_hituav

    make_hituav(args.source, args.out, report=lambda line: print(line, flush=True))


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
