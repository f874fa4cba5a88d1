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

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, check_positive, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
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
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_positive(parser, args, 'batches')
    return args


def measure(args, config: str, checkpoint: Optional[str]) -> dict[str, Any]:
    """Builds a detector and its training loader, and measures."""
    from mmengine import ProgressBar
    from mmengine.runner import Runner

    from mmbackbone_plugins.distortion.passes import average_rgn, usual_count
    from mmbackbone_plugins.lab import launch

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
    from mmbackbone_plugins.utils.text import table as aligned

    names = list(dict.fromkeys(n for run in runs for n in run['table'].stages))
    rows = [['stage', *(f'({i + 1})' for i in range(len(runs)))]]
    for name in [*names, 'network']:
        cells = []
        for run in runs:
            table = run['table']
            word = 'frozen' if name in table.frozen else '-'
            cells.append(f'{table.weights[name]:.3e}' if name in table.weights else word)
        rows.append([name, *cells])
    lines = [f'({i + 1}) {run["label"]}' for i, run in enumerate(runs)]
    return '\n'.join([*lines, '', aligned(rows)])


def work(args: argparse.Namespace) -> None:
    wanted = [(args.config, args.checkpoint)]
    wanted += [(c, k or None) for c, _, k in (run.partition('=') for run in args.run)]
    runs = [measure(args, config, checkpoint) for config, checkpoint in wanted]
    for one in runs:
        print(f'\n{one["label"]}, granularity {args.granularity!r}\n{one["table"].text()}')
    if len(runs) > 1:
        print(f'\nMedians of weights side by side\n{side_by_side(runs)}')
    if args.out:
        figures = dict(granularity=args.granularity, seed=args.seed, target=args.target)
        figures['runs'] = [{**one, 'table': one['table'].to_dict()} for one in runs]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2))
        print(f'\nwrote {args.out}')
    if args.plot:
        from mmbackbone_plugins.lab.visualization import plot_rgn_over_depth

        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot_rgn_over_depth(args.plot, {one['label']: one['table'] for one in runs})
        print(f'wrote {args.plot}')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


# The guard matters: workers of data loaders may spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
