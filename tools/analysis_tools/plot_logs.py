"""Draw RGN, drift, loss and mAP of one or several runs; frozen epochs are shaded.

    python tools/analysis_tools/plot_logs.py WORK_DIR [WORK_DIR ...] -o curves.png

Runs lie over each other, a panel per quantity and stage. Reads what mmengine, RGNHook and DriftHook
have logged; resumed starts are put together.
"""

import argparse
import sys
from pathlib import Path


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run')
    parser.add_argument('-o', '--out', type=Path, default=Path('curves.png'), help='picture file')
    parser.add_argument('--title', default='', help='title of the picture')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        # Imported here, so that --help answers at once.
        from mmbackbone_plugins.lab import console
        from mmbackbone_plugins.lab.visualization import plot_runs, read_run

        console.adapt()
        runs = [read_run(folder) for folder in args.work_dirs]
        if len({run.name for run in runs}) < len(runs):  # equal names in different places
            for run, folder in zip(runs, args.work_dirs):
                run.name = str(folder)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        drawn = plot_runs(args.out, runs, args.title)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'wrote {args.out} ({", ".join(drawn)} of {len(runs)} runs)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
