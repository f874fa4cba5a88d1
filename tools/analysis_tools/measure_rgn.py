"""Measure how hard the detection loss pulls each part of a backbone, before it is fine-tuned.

    python tools/analysis_tools/measure_rgn.py CONFIG [CHECKPOINT]
    python tools/analysis_tools/measure_rgn.py CONFIG --run OTHER_CONFIG --run CONFIG=CHECKPOINT

Mean relative gradient norm over batches of the training loader. No step is taken. Without a
checkpoint the weights are those that the config starts from: pre-trained backbone, fresh head.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Optional

from mmengine.config import DictAction


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='weights of the whole detector')
    parser.add_argument(
        '--run',
        action='append',
        default=[],
        metavar='CONFIG[=CHECKPOINT]',
        help='another config or checkpoint to put beside it; may be repeated',
    )
    parser.add_argument('--target', nargs='+', default=['backbone'], help='modules to measure')
    parser.add_argument(
        '--granularity',
        choices=['tensor', 'kernel'],
        default='tensor',
        help="'kernel' is the authors' code; numbers of the two do not compare",
    )
    parser.add_argument(
        '--batches', type=int, help='batches to average over; default: min(100, images / batch)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the images and a fresh head')
    parser.add_argument('--device', help='default: the first GPU, else the CPU')
    parser.add_argument('--out', type=Path, help='JSON file for all numbers')
    parser.add_argument('--plot', type=Path, help='picture file: RGN from input to output')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the configs, as key=value with dotted keys',
    )
    args = parser.parse_args(argv)
    if args.batches is not None and args.batches < 1:
        parser.error(f'--batches must be a positive integer, got {args.batches}')
    return args


def measure(args, config: str, checkpoint: Optional[str]) -> dict[str, Any]:
    """Builds a detector and its training loader, and measures."""
    from mmengine import ProgressBar
    from mmengine.runner import Runner

    from mmbackbone_plugins.distortion.passes import average_rgn, usual_count
    from mmbackbone_plugins.lab import console, launch

    console.adapt()
    cfg = launch.load_config(config, args.cfg_options)
    launch.check_data(cfg, ('train_dataloader',))
    model, device = launch.build_detector(cfg, checkpoint, args.seed, args.device)
    # A loader made for this: that of a run, with its sampler, is not touched.
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    if len(loader) == 0:
        raise ValueError(
            f'the training loader of {config!r} is empty ({len(loader.dataset)} images, batches '
            f'of {cfg.train_dataloader.get("batch_size")}): check ann_file and filter_cfg'
        )
    batch = cfg.train_dataloader.get('batch_size') or 1
    count = min(args.batches or usual_count(len(loader.dataset), batch), len(loader))
    label = Path(config).stem + (f' @ {Path(checkpoint).stem}' if checkpoint else '')
    print(f'{label}: {count} batches of {batch} on {device}')
    bar = ProgressBar(count, file=sys.stderr)
    target = args.target[0] if len(args.target) == 1 else args.target
    table = average_rgn(
        model, loader, target, args.granularity, count, progress=lambda done: bar.update()
    )
    print(file=sys.stderr)
    return dict(
        label=label,
        config=config,
        checkpoint=checkpoint,
        batches=count,
        batch_size=batch,
        table=table,
    )


def side_by_side(runs: list[dict[str, Any]]) -> str:
    """Medians over the weights of the stages, a column per run."""
    names = list(dict.fromkeys(n for run in runs for n in run['table'].stages))
    rows = [['stage', *(f'({i + 1})' for i in range(len(runs)))]]
    for name in [*names, 'network']:
        cells = []
        for run in runs:
            table = run['table']
            word = 'frozen' if name in table.frozen else '-'
            cells.append(f'{table.weights[name]:.3e}' if name in table.weights else word)
        rows.append([name, *cells])
    width = max(len(row[0]) for row in rows)
    lines = [f'({i + 1}) {run["label"]}' for i, run in enumerate(runs)] + ['']
    lines += [f'{row[0]:<{width}}' + ''.join(f'{c:>12}' for c in row[1:]) for row in rows]
    return '\n'.join(lines)


def main(argv=None) -> int:
    args = parse_args(argv)
    wanted = [(args.config, args.checkpoint)]
    wanted += [(c, k or None) for c, _, k in (run.partition('=') for run in args.run)]
    runs = []
    try:
        for config, checkpoint in wanted:
            runs.append(measure(args, config, checkpoint))
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for run in runs:
        print(f'\n{run["label"]}, granularity {args.granularity!r}')
        print(run['table'].text())
    if len(runs) > 1:
        print(f'\nMedians of weights side by side\n{side_by_side(runs)}')
    if args.out:
        figures = dict(granularity=args.granularity, seed=args.seed, target=args.target, runs=[])
        for run in runs:
            figures['runs'].append({**run, 'table': run['table'].to_dict()})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2))
        print(f'\nwrote {args.out}')
    if args.plot:
        from mmbackbone_plugins.lab.visualization import plot_rgn_over_depth

        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot_rgn_over_depth(args.plot, {run['label']: run['table'] for run in runs})
        print(f'wrote {args.plot}')
    return 0


# The guard matters: workers of data loaders may spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
