"""Print, before any training, what a config trains in which epoch and what that costs.

    python tools/analysis_tools/print_freezing_schedule.py CONFIG

One image of the config's input size goes forward and backward once per distinct phase.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, add_inputs, check_positive, make_parser, run_tool  # noqa: E402

WIDTH = 100  # characters of the table of epochs


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', help='config file with a FreezingSchedulerHook')
    add_inputs(parser)
    parser.add_argument('--no-flops', action='store_true', help='only the schedule: instant')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    check_positive(parser, args, 'images')
    return args


def draw_schedule(freezer, plan_phases, length: int, unit: str) -> str:
    """Stages down, time across: '#' trains, '.' is frozen, '-' is frozen by the model itself."""
    names = freezer.stage_map.names
    kept = {name for name in names if not freezer.parameters_of([name])}
    step = -(-length // (WIDTH * 3)) if length > WIDTH * 3 else 1
    times = list(range(0, length, step))
    trainable = {t: p.trainable for p in plan_phases for t in range(p.start, p.end)}
    label = max(len(n) for n in [*names, unit])
    lines = [] if step == 1 else [f'(every {step}th {unit})']
    for first in range(0, len(times), WIDTH):
        part = times[first : first + WIDTH]
        ruler = ''.join(f'{t:<10}' for t in part[::10])
        lines.append(f'{unit:<{label}}  {ruler}'.rstrip())
        for name in names:
            on = '-' if name in kept else '#'
            cells = ''.join(on if name in trainable[t] else '.' for t in part)
            lines.append(f'{name:<{label}}  {cells}')
        lines.append('')
    lines.append(
        '# trains   . is frozen' + ('   - the model keeps it frozen itself' if kept else '')
    )
    return '\n'.join(lines)


def print_costs(plan, figures: dict[str, Any], names: list[str]) -> None:
    from mmbackbone_plugins.hooks.preflight import describe
    from mmbackbone_plugins.utils.text import table

    full, unit, images = plan.flops[plan.full].total, plan.unit, figures['images']
    lines = [('trains', f'{unit}s', 'parameters that train', '', 'GFLOPs/image', 'of full')]
    lines[0] += (f'TFLOPs/{unit}', f'in {unit}s')
    for row in figures['phases']:
        stages = describe(row['stages'], names)
        lines.append(
            (
                stages if len(stages) < 27 else f'{len(row["stages"])} of {len(names)} stages',
                'any' if row['units'] is None else str(row['units']),
                f'{row["trainable_parameters"]:,}',
                f'({row["trainable_parameters"] / plan.parameters:.1%})',
                f'{row["flops_per_image"] / 1e9:,.1f}',
                f'{row["flops_per_image"] / full:.1%}',
                f'{row["flops_per_unit"] / 1e12:,.1f}' if images else '-',
                row['spans'],
            )
        )
    print(table(lines, '<>>>>>><') + '\n')
    if images:
        total, whole = figures['training_flops'], figures['full_training_flops']
        most = 'Total' if plan.budget is None else 'At most'
        print(f'{most}   {total:.3e} FLOPs in {plan.length} {unit}s of {images:,} images;')
        print(f'full fine-tuning   {whole:.3e} FLOPs. Saved: {plan.saving:.1%}')
    else:
        print(f'Saved against full fine-tuning: {plan.saving:.1%} of its FLOPs.')
        print('The training set is not here; --images N gives totals.')


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.hooks.preflight import unreached
    from mmbackbone_plugins.lab import planning

    preview = planning.preview_run(
        args.config, args.cfg_options, args.shape, args.images, need_shape=not args.no_flops
    )
    if not preview.hook:
        print('This config has no FreezingSchedulerHook: everything trains, always.\n')
    names = list(preview.freezer.stage_map.names)
    target = preview.hook.get('target', 'backbone')
    print(f'{args.config}\n{preview.schedule!r} on {target!r}\n')
    spans = preview.freeze_plan.phases(preview.length)
    if preview.schedule.decides:
        print(
            'What trains is decided before every epoch: one of the sets below, for no more than '
            f'{preview.schedule.budget:g} of the cost of full fine-tuning in all.\n'
        )
    else:
        print(draw_schedule(preview.freezer, spans, preview.length, preview.unit) + '\n')
    for warning in unreached(preview.freeze_plan, spans):
        print(f'{warning}\n')
    if preview.unknown:
        print(f'{planning.unknown_text(preview.unknown)}\n')
    if args.no_flops:
        return
    (plan,) = preview.plan_costs(report=planning.CountProgress())
    print(
        f'One image of {" x ".join(map(str, preview.shape))} px, forward and backward, counted by'
    )
    print('torch.utils.flop_counter (convolutions and matrix products).\n')
    figures = preview.figures(plan)
    print_costs(plan, figures, names)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2))


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
