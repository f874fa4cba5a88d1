"""Test a detector of DOTA's classes on DIOR-R, or one of DIOR-R's on DOTA, over the common classes.

    python tools/analysis_tools/test_transfer.py CONFIG CHECKPOINT --to dior --data-root data/DIOR/

Beside it the same detector on its own data over the same classes: only these two compare. Pictures
go through the test pipeline of the config. Classes that the two data sets do not share count
neither as labels nor as predictions.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_sweep_options, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file of the detector')
    parser.add_argument('checkpoint', help='weights of the detector')
    parser.add_argument('--to', choices=['dota', 'dior'], required=True, help='the other data set')
    parser.add_argument('--data-root', required=True, help='its folder')
    parser.add_argument(
        '--to-split',
        choices=['train', 'val', 'test'],
        help='of the other data set; default: test of DIOR-R, val of DOTA (its test labels are '
        'not public)',
    )
    parser.add_argument(
        '--split',
        choices=['val', 'test'],
        help='loader of the config for its own data; default: test if it has labels, else val',
    )
    parser.add_argument(
        '--scale',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="what pictures of the other data set are resized into; default: the config's scale",
    )
    parser.add_argument('--no-own', action='store_true', help='leave the own data out')
    add_sweep_options(parser, 'transfer_CHECKPOINT')
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    if args.jobs < 0:
        parser.error(f'--jobs must be 0 or more, got {args.jobs}')
    return args


def make_cells(args: argparse.Namespace, cfg) -> list:
    from mmbackbone_plugins.lab import launch, sweeps
    from mmbackbone_plugins.lab.sweeps import test_sets
    from mmbackbone_plugins.utils.names import type_name

    split = args.split or ('test' if test_sets.has_labels(cfg, 'test') else 'val')
    loader, evaluator = sweeps.labelled_split(cfg, split)
    if not args.no_own:
        launch.check_data(cfg, (f'{split}_dataloader',))
    if args.num_workers is not None:
        loader['num_workers'] = args.num_workers
    own = sweeps.Cell(f'own_{split}', loader, evaluator)
    other = test_sets.transferred(own, args.to, args.data_root, args.to_split, args.scale)
    launch.check_data(dict(to=other.loader), ('to',))
    metric = other.evaluator
    if not isinstance(metric, dict) or type_name(metric) != 'OrientedMetric':
        raise ValueError(
            'transfer is scored by OrientedMetric; the config has another metric than DOTAMetric: '
            f'{evaluator}'
        )
    return [other] if args.no_own else [replace(own, evaluator=metric), other]


def text(scores: dict) -> str:
    """A row a class, the columns of each test set side by side."""
    from mmbackbone_plugins.utils.text import table

    keys, names = ('boxes', 'AP50', 'mAP'), list(scores)
    rows = [['class', *(f'{key} {name}' for key in keys for name in names)]]

    def add(title: str, read) -> None:
        numbers = [(key, read(scores[name], key)) for key in keys for name in names]
        shown = [f'{v:,.0f}' if key == 'boxes' else f'{100 * v:.1f}' for key, v in numbers]
        rows.append([title, *('-' if v != v else one for (_, v), one in zip(numbers, shown))])

    parts = [key.split('/') for key in scores[names[0]]]
    classes = [part[1] for part in parts if len(part) == 3 and part[2] == 'mAP']
    for label in classes:
        add(label, lambda found, key, label=label: found[f'oriented/{label}/{key}'])
    add('all', lambda found, key: found[f'oriented/{key}'])
    shared = [n for n in classes if all(one[f'oriented/{n}/boxes'] for one in scores.values())]

    def mean(found: dict, key: str) -> float:
        total = sum(found[f'oriented/{label}/{key}'] for label in shared)
        return (total if key == 'boxes' else total / len(shared)) if shared else float('nan')

    if len(shared) < len(classes):  # else means over different classes would be side by side
        add(f'mean of the {len(shared)} labelled in each', mean)
    return table(rows)


def work(args: argparse.Namespace) -> int:
    from mmbackbone_plugins.lab import launch, sweeps
    from mmbackbone_plugins.metrics import CLASS_MAPS

    cfg = launch.load_config(args.config, args.cfg_options)
    folder = args.out or Path(cfg.work_dir) / f'transfer_{Path(args.checkpoint).stem}'
    sweep = sweeps.Sweep(cfg, args.checkpoint, folder, args.jobs, args.device)
    *own, other = make_cells(args, cfg)
    scores, failed = sweep.run([*own, other])
    if not scores:
        return 1
    print(f'\nAP x 100 over the common classes of DOTA and DIOR-R\n{text(scores)}')
    sweep.write(
        f'results_{other.name}.json',
        'test_transfer.py',
        args.argv,
        config=args.config,
        class_map={k: list(v) for k, v in CLASS_MAPS['dota-dior'].items()},
        failed=failed,
        scores={name: sweeps.json_numbers(found) for name, found in scores.items()},
    )
    return 1 if failed else 0


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


# The guard matters: the processes that share the work spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
