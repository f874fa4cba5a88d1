"""Write the report of a benchmark's folder, wherever it lies now.

python -m mmbackbone_plugins.lab.benchmarking.report WORK_DIR [-o OUT]
"""

import argparse
import sys

from ... import console
from .summary import BASELINE
from .writing import write_report


def main(argv=None) -> int:
    """The command line of :func:`write_report`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', help='folder of the benchmark')
    parser.add_argument('-o', '--out', help='folder of the report (default: WORK_DIR/report)')
    parser.add_argument('--title', help='title of the report')
    parser.add_argument('--baseline', default=BASELINE, help=f'default: {BASELINE}')
    args = parser.parse_args(argv)
    console.adapt()
    try:
        page = write_report(args.work_dir, args.out, args.title, baseline=args.baseline)
        print(f'wrote {page}')
    except (OSError, ValueError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
