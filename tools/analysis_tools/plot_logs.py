"""Draw RGN, drift, loss and mAP of one or several runs; frozen epochs are shaded.

    python tools/analysis_tools/plot_logs.py WORK_DIR [WORK_DIR ...] -o curves.png

Runs lie over each other, a panel per quantity and stage. Reads what mmengine, RGNHook and DriftHook
have logged; resumed starts are put together.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run')
    parser.add_argument('-o', '--out', type=Path, default=Path('curves.png'), help='picture file')
    parser.add_argument('--title', default='', help='title of the picture')
    return parser.parse_args(argv)


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab.visualization import plot_runs, read_run

    runs = [read_run(folder) for folder in args.work_dirs]
    if len({run.name for run in runs}) < len(runs):  # equal names in different places
        for one, folder in zip(runs, args.work_dirs):
            one.name = str(folder)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = plot_runs(args.out, runs, args.title)
    print(f'wrote {args.out} ({", ".join(drawn)} of {len(runs)} runs)')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
