"""Print what finished or running trainings have cost, from their cost.json.

python tools/analysis_tools/show_cost.py WORK_DIR [WORK_DIR ...]
"""

import argparse
import json
import sys
from pathlib import Path


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run')
    parser.add_argument('--out', type=Path, help='JSON file for all of the records, by work dir')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        # Imported here, so that --help answers at once.
        from mmbackbone_plugins.cost import Ledger, cost_text, side_by_side
        from mmbackbone_plugins.lab import console

        console.adapt()
        ledgers = {folder: Ledger.read(Path(folder)) for folder in args.work_dirs}
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for folder, ledger in ledgers.items():
        print(f'{folder}\n{cost_text(ledger)}\n')
    if len(ledgers) > 1:
        print(side_by_side(ledgers))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        records = {folder: ledger.to_dict() for folder, ledger in ledgers.items()}
        args.out.write_text(json.dumps(records, indent=2))
        print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
