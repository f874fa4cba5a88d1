"""Test a detector on corrupted pictures, and on other test sets of the same layout.

    python tools/analysis_tools/test_robustness.py CONFIG CHECKPOINT
    python tools/analysis_tools/test_robustness.py CONFIG CHECKPOINT --test-sets haze=data/toy_haze

The 15 corruptions of the benchmark at 5 severities, and once none: mean performance under
corruption (mPC), and that as a share of the clean one (rPC). Each test set is kept as a file when
it is done; the same command goes on where it was stopped.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_sweep_options, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights of the detector')
    parser.add_argument(
        '--corruptions',
        nargs='*',
        default=['benchmark'],
        help='names, or benchmark (default, all 15), noise, blur, weather, digital, validation '
        '(the other 4); none with nothing after it',
    )
    parser.add_argument(
        '--severities',
        nargs='+',
        type=int,
        default=[0, 1, 2, 3, 4, 5],
        help='1 to 5; untouched pictures (0) are tested in any case',
    )
    parser.add_argument(
        '--test-sets',
        nargs='+',
        default=[],
        metavar='NAME=DATA_ROOT',
        help='other folders of the same layout, tested as they are',
    )
    parser.add_argument(
        '--split', choices=['val', 'test'], default='test', help='loader of the config to test on'
    )
    parser.add_argument(
        '--score', help='the score in the table; default: the mAP, oriented/mAP as a rule'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the noise')
    add_sweep_options(parser, 'robustness_CHECKPOINT')
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    wrong = [s for s in args.severities if s not in range(6)]
    if wrong:
        parser.error(f'--severities must be from 0 to 5, got {wrong[0]}')
    if args.seed < 0 or args.jobs < 0:
        parser.error(f'--seed and --jobs must be 0 or more, got {args.seed} and {args.jobs}')
    args.test_sets = dict(read_test_set(parser, one) for one in args.test_sets)
    return args


def read_test_set(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, equals, root = text.partition('=')
    if not (equals and root and name.replace('-', '').replace('_', '').isalnum()):
        parser.error(
            f'--test-sets must be NAME=DATA_ROOT with letters, digits, - and _ in the name, '
            f'got {text!r}'
        )
    if not Path(root).is_dir():
        parser.error(f'--test-sets {name}: folder {root!r} does not exist')
    return name, root


def work(args: argparse.Namespace) -> int:
    from mmbackbone_plugins.lab import launch, sweeps
    from mmbackbone_plugins.lab.sweeps import report, test_sets
    from mmbackbone_plugins.lab.visualization import plot_robustness
    from mmbackbone_plugins.metrics import GROUPS, corruptions, select_corruptions

    args.corruptions = select_corruptions(args.corruptions) if args.corruptions else []
    args.severities = sorted(set(args.severities) - {0})
    if args.corruptions:
        corruptions.load_library()
    cfg = launch.load_config(args.config, args.cfg_options)
    folder = args.out or Path(cfg.work_dir) / f'robustness_{Path(args.checkpoint).stem}'
    sweep = sweeps.Sweep(cfg, args.checkpoint, folder, args.jobs, args.device)
    (own,) = test_sets.in_domain(cfg, args.split, args.num_workers)
    own = replace(own, name=report.CLEAN)
    sets = [test_sets.elsewhere(own, *one) for one in args.test_sets.items()]
    corrupted = test_sets.corrupted(own, args.corruptions, args.severities, args.seed)
    scores, failed = sweep.run([own, *sets, *corrupted])
    if not scores:
        return 1
    known = list(next(iter(scores.values())))
    try:
        score = args.score or sweeps.default_score(known)
        if not any(score in found for found in scores.values()):
            raise ValueError(f'--score must be one of {known}')
    except ValueError as error:
        raise ValueError(f'{error}; all scores are in {folder / "cells"}') from None
    asked = (scores, score, args.corruptions, args.severities, [cell.name for cell in sets])
    print('\n' + report.text(*asked))
    made = dict(config=args.config, split=args.split, seed=args.seed, failed=failed)
    sweep.write('results.json', 'test_robustness.py', args.argv, **made, **report.figures(*asked))
    if score in scores.get(report.CLEAN, {}):
        table = report.grid(scores, score, args.corruptions, args.severities)
        others = {n: scores[f'set_{n}'] for n in args.test_sets if f'set_{n}' in scores}
        others = {name: found.get(score, float('nan')) for name, found in others.items()}
        title = f'{Path(args.config).stem}, {Path(args.checkpoint).stem}'
        look = (table, GROUPS, others, score.rsplit('/', 1)[-1], title)
        try:
            plot_robustness(folder / 'robustness.png', scores[report.CLEAN][score], *look)
            print(f'wrote {folder / "robustness.png"}')
        except (ImportError, ValueError) as error:
            print(f'no picture: {error}', file=sys.stderr)
    return 1 if failed else 0


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


# The guard matters: the processes that share the work spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
