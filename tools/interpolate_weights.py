"""Weights between those before and after fine-tuning: one checkpoint, or a sweep along the line.

    python tools/interpolate_weights.py START END --weight 0.5 -o FILE
    python tools/interpolate_weights.py START END CONFIG --weights 0:1:0.1 --on noise haze=data/haze
    python tools/interpolate_weights.py START END CONFIG --choose val -o FILE

Weight 0 is START (probed.pth of a run with keep_probed=True), 1 is END (its last checkpoint). The
same command goes on where it was stopped.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import add_sweep_options, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('start', help='checkpoint before')
    parser.add_argument('end', help='checkpoint after, of the same detector')
    parser.add_argument('config', nargs='?', help='config of the detector, for a sweep')
    parser.add_argument('--weight', type=float, help='place of the one checkpoint to write')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='the checkpoint to write')
    parser.add_argument(
        '--weights',
        nargs='+',
        default=['0:1:0.1'],
        metavar='W',
        help='places of the sweep, numbers or FIRST:LAST:STEP; default: 0:1:0.1',
    )
    parser.add_argument(
        '--on',
        nargs='+',
        default=[],
        metavar='SET',
        help='other test sets: corruptions (fog, noise, benchmark, ...), NAME=DATA_ROOT (a folder '
        'of the same layout), dior:DATA_ROOT or dota:DATA_ROOT (the other data set)',
    )
    parser.add_argument(
        '--choose',
        choices=['val'],
        help='write the checkpoint that is best on the validation set of the config',
    )
    parser.add_argument(
        '--split',
        choices=['val', 'test'],
        help='loader of the config for its own data; default: test if it has labels, else val',
    )
    parser.add_argument('--severities', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument('--seed', type=int, default=0, help="of the corruptions' noise")
    parser.add_argument('--target', default='', help='interpolate this module only; default: all')
    parser.add_argument('--extrapolate', action='store_true', help='allow places beyond the ends')
    parser.add_argument('--score', help='the score in the table; default: the mAP')
    add_sweep_options(parser, 'interpolation_END')
    args = parser.parse_args(argv)
    if args.config is None and (args.weight is None or args.output is None):
        parser.error('without CONFIG it takes --weight and -o FILE')
    if args.config is not None and args.weight is not None:
        parser.error('--weight is for one checkpoint, without CONFIG; a sweep takes --weights')
    if args.output is not None and args.config is not None and not args.choose:
        parser.error('-o FILE: a sweep writes a checkpoint with --choose val only')
    if args.jobs < 0 or args.seed < 0 or any(s not in range(1, 6) for s in args.severities):
        parser.error('--jobs and --seed must be 0 or more, --severities from 1 to 5')
    try:
        args.weights = read_weights(args.weights)
    except ValueError as error:
        parser.error(f'--weights: {error}')
    return args


def read_weights(texts) -> list:
    """Numbers and FIRST:LAST:STEP, as one ordered list."""
    found = set()
    for text in texts:
        numbers = [float(part) for part in text.split(':')]
        if len(numbers) == 1:
            found.update(numbers)
            continue
        if len(numbers) != 3 or numbers[2] <= 0 or numbers[1] < numbers[0]:
            raise ValueError(f'a range is FIRST:LAST:STEP with a positive step, got {text!r}')
        first, last, step = numbers
        count = int((last - first) / step + 1e-6) + 1
        found.update(round(first + i * step, 9) for i in range(count))
    return sorted(found)


def sweep(args: argparse.Namespace, ends) -> int:
    from mmbackbone_plugins.lab import launch, sweeps
    from mmbackbone_plugins.lab.sweeps import interpolation, test_sets
    from mmbackbone_plugins.lab.visualization import plot_interpolation
    from mmbackbone_plugins.utils.files import write_json

    cfg = launch.load_config(args.config, args.cfg_options)
    folder = args.out or Path(cfg.work_dir) / f'interpolation_{Path(args.end).stem}'
    own = test_sets.in_domain(cfg, args.split, args.num_workers)
    val = test_sets.in_domain(cfg, 'val', args.num_workers) if args.choose else []
    groups = {test_sets.OWN: own}
    if val and val[0].name != own[0].name:
        groups['val'] = val
    groups.update(test_sets.out_of_domain(own[0], args.on, args.severities, args.seed))
    cells = [cell for group in groups.values() for cell in group]
    line = interpolation.Line(
        ends, dict(cfg=cfg, folder=folder, jobs=args.jobs, device=args.device)
    )
    line.check(args.weights, cells)
    scores, failed = line.run(args.weights, cells)
    for name, error in failed.items():
        print(f'FAILED {name}: {error}', file=sys.stderr)
    first = next((s for found in scores.values() for s in found.values()), None)
    if first is None:
        return 1
    score = args.score or sweeps.default_score(list(first))
    if score not in first:
        raise ValueError(f'--score must be one of {list(first)}; all are in {folder}')
    chosen = interpolation.choose(scores, val[0].name, score) if val else None
    found = interpolation.columns(scores, groups, score)
    print(f'\n{score} x 100; weight 0 is {args.start}, 1 is {args.end}')
    print(interpolation.text(found, chosen))
    if chosen is not None:
        path = args.output or folder / 'chosen.pth'
        ends.save(chosen, path)
        print(f'\nchosen on the validation set: {chosen:g}, written to {path}')
        if 'val' not in groups:
            print('(the score in the domain is of the pictures that it was chosen on)')
        print('\n'.join(interpolation.given_up(found, chosen)))
    content = dict(
        start=args.start,
        end=args.end,
        sha256=ends.hashes,
        score=score,
        chosen=chosen,
        failed=failed,
        groups={group: [cell.name for cell in inside] for group, inside in groups.items()},
        scores={
            f'{weight:g}': {cell: sweeps.json_numbers(row) for cell, row in found.items()}
            for weight, found in scores.items()
        },
    )
    write_json(folder / 'results.json', content)
    print(f'\nwrote {folder / "results.json"}')
    if args.on:
        picture = folder / 'interpolation.png'
        outside = {g: row for g, row in found.items() if g not in (test_sets.OWN, 'val')}
        try:
            label = score.rsplit('/', 1)[-1]
            title = Path(args.config).stem
            plot_interpolation(picture, found[test_sets.OWN], outside, chosen, label, title)
            print(f'wrote {picture}')
        except (ImportError, ValueError) as error:
            print(f'no picture: {error}', file=sys.stderr)
    return 1 if failed else 0


def work(args: argparse.Namespace) -> int:
    from mmbackbone_plugins.lab.sweeps.interpolation import Ends

    ends = Ends(args.start, args.end, args.target, args.extrapolate)
    if args.config is not None:
        return sweep(args, ends)
    ends.save(args.weight, args.output)
    print(f'wrote {args.output}')
    return 0


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


# The guard matters: the processes that share the work spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
