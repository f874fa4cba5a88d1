"""Print what finished or running trainings have cost, from their cost.json.

python tools/analysis_tools/show_cost.py WORK_DIR [WORK_DIR ...]
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run')
    parser.add_argument('--out', type=Path, help='JSON file for all of the records, by work dir')
    return parser.parse_args(argv)


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.cost import Ledger, cost_text, side_by_side

    ledgers = {folder: Ledger.read(Path(folder)) for folder in args.work_dirs}
    for folder, ledger in ledgers.items():
        print(f'{folder}\n{cost_text(ledger)}\n')
    if len(ledgers) > 1:
        print(side_by_side(ledgers))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        records = {folder: ledger.to_dict() for folder, ledger in ledgers.items()}
        args.out.write_text(json.dumps(records, indent=2))
        print(f'wrote {args.out}')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
