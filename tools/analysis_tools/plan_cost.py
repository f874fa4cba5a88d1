"""Print, before any training, what whole runs will cost, side by side.

    python tools/analysis_tools/plan_cost.py CONFIG [CONFIG ...]
    python tools/analysis_tools/plan_cost.py CONFIG --rho 1 5 10 20 inf --plot rho.png

One image of the config's input size goes forward and backward once for every set of parameters
that trains. Without the training set (or --images) the numbers are those of one image an epoch:
shares and savings are right, totals are to be multiplied.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mmengine.config import DictAction


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--rho',
        nargs='+',
        metavar='RHO',
        help="step schedules instead of the config's own: positive integers, or inf",
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='input size in pixels; default: read off the training pipeline',
    )
    parser.add_argument(
        '--images',
        type=int,
        help='images in an epoch; default: length of the training set if its files are here',
    )
    parser.add_argument('--batch', type=int, default=1, help='images in the batch that is counted')
    parser.add_argument(
        '--gpus', type=int, default=1, help='processes of the run, for loops of iterations'
    )
    parser.add_argument('--device', default='cpu', help="where to count: 'cpu' or 'cuda'")
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    parser.add_argument('--plot', type=Path, help='picture of FLOPs against rho (with --rho)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the configs, as key=value with dotted keys',
    )
    args = parser.parse_args(argv)
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape must be two positive integers, got {args.shape}')
    for name in ('images', 'batch', 'gpus'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} must be a positive integer, got {value}')
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


def bills(args: argparse.Namespace, config: str, label: str) -> list[dict[str, Any]]:
    """One object per schedule of a config, as ``--out`` has them."""
    from mmbackbone_plugins.lab import console, planning

    console.adapt()
    preview = planning.preview_run(config, args.cfg_options, args.shape, args.images, args.gpus)
    wanted = [preview.with_rho(rho) for rho in args.rho] or None
    plans = preview.plan_costs(wanted, args.batch, args.device, planning.CountProgress(label))
    found = []
    for number, plan in enumerate(plans):
        images = preview.images or 1
        found.append(
            dict(
                config=config,
                schedule=plan.schedule,
                rho=args.rho[number] if args.rho else None,
                shape=list(preview.shape),
                unit=plan.unit,
                length=plan.length,
                images=preview.images,
                training_flops=plan.training_flops * images,
                full_training_flops=plan.full_training_flops * images,
                saving=plan.saving,
                parameters=plan.parameters,
                trainable_parameters=plan.ever_trainable,
                phases=[
                    dict(
                        stages=sorted(stages),
                        units=sum(p.length for p in plan.phases if p.trainable == stages),
                        trainable_parameters=plan.trainable[stages],
                        forward_flops=plan.flops[stages].forward,
                        backward_flops=plan.flops[stages].backward,
                    )
                    for stages in dict.fromkeys(p.trainable for p in plan.phases)
                ],
                uncounted_ops=plan.uncounted_ops,
                unknown_weights=preview.unknown,
            )
        )
    return found


def text(found: list[dict[str, Any]]) -> str:
    """The bills as tables."""
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
    lines.append('FLOPs of convolutions, matrix products and attention, forward and backward.')
    for number, config in enumerate(configs, start=1):
        one = next(f for f in found if f['config'] == config)
        lines.append(f'In none of them ({number}): {operators_text(one["uncounted_ops"])}')
        if one['unknown_weights']:
            lines.append(f'({number}) {unknown_text(one["unknown_weights"])}')
    return '\n'.join(lines)


def main(argv=None) -> int:
    args = parse_args(argv)
    found = []
    try:
        for number, config in enumerate(args.configs, start=1):
            label = f'({number}/{len(args.configs)}) {Path(config).stem[:30]}'
            found += bills(args, config, label)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {config}: {error}', file=sys.stderr)
        return 2
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
    return 0


if __name__ == '__main__':
    sys.exit(main())
