"""Print, before any training, what whole runs will cost, side by side.

    python tools/analysis_tools/plan_cost.py CONFIG [CONFIG ...]
    python tools/analysis_tools/plan_cost.py CONFIG --rho 1 5 10 20 inf --plot rho.png
    python tools/analysis_tools/plan_cost.py CONFIG --memory 24 --device cuda

One image of the config's input size goes forward and backward once for every set of parameters
that trains. Without the training set (or --images) the numbers are those of one image an epoch:
shares and savings are right, totals are to be multiplied.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, add_inputs, check_positive, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--rho',
        nargs='+',
        metavar='RHO',
        help="step schedules instead of the config's own: positive integers, or inf",
    )
    add_inputs(parser)
    parser.add_argument('--batch', type=int, default=1, help='images in the batch that is counted')
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes of the run, for loops of iterations'
    )
    parser.add_argument('--device', default='cpu', help="where to count: 'cpu' or 'cuda'")
    parser.add_argument(
        '--memory',
        type=float,
        metavar='GB',
        help='print which batch fits into so many gigabytes (1e9 bytes) in frozen and in training '
        'phases, from measured steps in FP32',
    )
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    parser.add_argument('--plot', type=Path, help='picture of FLOPs against rho (with --rho)')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_positive(parser, args, 'images', 'batch', 'gpus')
    if args.memory is not None and not args.memory > 0:
        parser.error(f'--memory must be a number of gigabytes above 0, got {args.memory}')
    if args.plot and not args.rho:
        parser.error('--plot draws FLOPs against rho; give --rho 1 5 10 20 inf, say')
    args.rho = [_rho(parser, text) for text in args.rho or []]
    return args


def _rho(parser: argparse.ArgumentParser, text: str) -> Any:
    if text.lower() == 'inf':
        return 'inf'
    if not text.isdigit() or int(text) < 1:
        parser.error(f"--rho takes positive integers and 'inf', got {text!r}")
    return int(text)


def costs(args: argparse.Namespace, config: str, label: str) -> list[dict[str, Any]]:
    """One object per schedule of a config, as ``--out`` has them."""
    from mmbackbone_plugins.lab import planning

    preview = planning.preview_run(config, args.cfg_options, args.shape, args.images, args.gpus)
    wanted = [preview.with_rho(rho) for rho in args.rho] or None
    plans = preview.plan_costs(wanted, args.batch, args.device, planning.CountProgress(label))
    rhos = args.rho or [None]
    found = [dict(preview.figures(plan), rho=rho) for plan, rho in zip(plans, rhos)]
    if args.memory:
        from mmbackbone_plugins.lab.fitting import fitting_batches

        for one, plan in zip(found, wanted or [preview.freeze_plan]):
            one['memory'] = fitting_batches(
                preview, plan, 1e9 * args.memory, args.batch, args.device, args.gpus
            )
    return found


def text(found: list[dict[str, Any]]) -> str:
    """The costs as tables."""
    from mmbackbone_plugins.cost import flops_text, operators_text
    from mmbackbone_plugins.lab.planning import unknown_text
    from mmbackbone_plugins.utils.text import table

    configs = list(dict.fromkeys(one['config'] for one in found))
    lines = []
    for number, config in enumerate(configs, start=1):
        one = next(f for f in found if f['config'] == config)
        images = f'{one["images"]:,} images' if one['images'] else 'one image'
        lines.append(f'({number}) {config}')
        lines.append(
            f'    {one["length"]:,} {one["unit"]}s of {images}, {one["shape"][0]} x '
            f'{one["shape"][1]} px; full fine-tuning takes {flops_text(one["full_training_flops"])}'
        )
    rows = [('', 'schedule', 'FLOPs', 'of full', 'saved', 'parameters', 'of them train')]
    for one in found:
        share = one['trainable_parameters'] / one['parameters']
        rows.append(
            (
                f'({configs.index(one["config"]) + 1})',
                one['schedule'],
                flops_text(one['training_flops'], 4),
                f'{1 - one["saving"]:.1%}',
                f'{one["saving"]:.1%}',
                f'{one["parameters"]:,}',
                f'{one["trainable_parameters"]:,} ({share:.1%})',
            )
        )
    lines += ['', table(rows), '']
    if any(one['images'] is None for one in found):
        lines.append(
            'Training sets of configs with "one image" are not here: their FLOPs are for one image '
            'an epoch.\nMultiply by the images, or give --images N; shares hold for any number.'
        )
    if 'memory' in found[0]:
        header = ('', 'schedule', 'stages that train', 'fixed GB', 'GB an image')
        rows = [(*header, 'batch that fits', 'measured up to')]
        for one in found:
            for fit in one['memory']:
                sizes = [f'{fit[key] / 1e9:.3f}' for key in ('fixed_bytes', 'bytes_per_image')]
                number = f'({configs.index(one["config"]) + 1})'
                batches = f'{fit["batch"]:,}', f'{fit["measured_batch"]:,}'
                rows.append((number, one['schedule'], fit['trains'], *sizes, *batches))
        lines += [table(rows, '<<<>>>>'), '']
    lines.append('FLOPs of convolutions, matrix products and attention, forward and backward.')
    for number, config in enumerate(configs, start=1):
        one = next(f for f in found if f['config'] == config)
        lines.append(f'In none of them ({number}): {operators_text(one["uncounted_ops"])}')
        if one['spared_flops']:
            spared = flops_text(one['spared_flops'])
            lines.append(f'({number}) FeatureCacheHook spares {spared} of forward passes.')
        if one['unknown_weights']:
            lines.append(f'({number}) {unknown_text(one["unknown_weights"])}')
    return '\n'.join(lines)


def work(args: argparse.Namespace) -> None:
    found = []
    for number, config in enumerate(args.configs, start=1):
        try:
            found += costs(args, config, f'({number}/{len(args.configs)}) {Path(config).stem[:30]}')
        except (ImportError, OSError, ValueError) as error:
            raise ValueError(f'{config}: {error}') from error
    print(text(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=2))
        print(f'wrote {args.out}')
    if args.plot:
        from mmbackbone_plugins.lab.visualization import plot_cost_over_rho

        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot_cost_over_rho(args.plot, found)
        print(f'wrote {args.plot}')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
