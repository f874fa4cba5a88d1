"""Print, before any training, what a config trains in which epoch and what that costs.

    python tools/analysis_tools/print_freezing_schedule.py CONFIG

One image of the config's input size goes forward and backward once per distinct phase.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Optional

from mmengine.config import DictAction

WIDTH = 100  # characters of the table of epochs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file with a FreezingSchedulerHook')
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
    parser.add_argument('--no-flops', action='store_true', help='only the schedule: instant')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value with dotted keys',
    )
    args = parser.parse_args()
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape must be two positive integers, got {args.shape}')
    if args.images is not None and args.images < 1:
        parser.error(f'--images must be a positive integer, got {args.images}')
    return args


def draw_schedule(freezer, plan_phases, length: int, unit: str) -> str:
    """Stages down, time across: '#' trains, '.' is frozen, '-' is frozen by the model itself."""
    names = freezer.stage_map.names
    kept = {name for name in names if not freezer.parameters_of([name])}
    step = -(-length // (WIDTH * 3)) if length > WIDTH * 3 else 1
    times = list(range(0, length, step))
    trainable = {}
    for phase in plan_phases:
        for time in range(phase.start, phase.end):
            trainable[time] = phase.trainable
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


def spans_of(plan_phases, stages) -> str:
    spans = [(p.start, p.end - 1) for p in plan_phases if p.trainable == stages]
    words = [f'{a}' if a == b else f'{a}-{b}' for a, b in spans]
    return ', '.join(words) if len(words) <= 6 else ', '.join([*words[:3], '...', words[-1]])


def rows(plan, images: Optional[int]) -> list[dict[str, Any]]:
    found = []
    for stages in dict.fromkeys(p.trainable for p in plan.phases):
        flops = plan.flops[stages]
        found.append(
            dict(
                stages=sorted(stages),
                units=sum(p.length for p in plan.phases if p.trainable == stages),
                spans=spans_of(plan.phases, stages),
                trainable_parameters=plan.trainable[stages],
                forward_flops=flops.forward,
                backward_flops=flops.backward,
                flops_per_image=flops.total,
                flops_per_unit=flops.total * images if images else None,
            )
        )
    return found


def print_costs(plan, images: Optional[int], names: list[str]) -> None:
    from mmbackbone_plugins.hooks.preflight import describe

    full = plan.flops[plan.full].total
    print(f'{"trains":<28}{plan.unit + "s":>9}{"parameters that train":>26}', end='')
    print(f'{"GFLOPs/image":>14}{"of full":>9}{f"TFLOPs/{plan.unit}":>18}')
    for row in rows(plan, images):
        share = row['trainable_parameters'] / plan.parameters
        stages = describe(row['stages'], names)
        stages = stages if len(stages) < 27 else f'{len(row["stages"])} of {len(names)} stages'
        per_unit = f'{row["flops_per_unit"] / 1e12:,.1f}' if images else '-'
        print(f'{stages:<28}{row["units"]:>9}', end='')
        print(f'{row["trainable_parameters"]:>17,} ({share:>6.1%})', end='')
        print(
            f'{row["flops_per_image"] / 1e9:>14,.1f}{row["flops_per_image"] / full:>9.1%}', end=''
        )
        print(f'{per_unit:>18}   {plan.unit}s {row["spans"]}')
    print()
    if images:
        total, whole = plan.training_flops * images, plan.full_training_flops * images
        print(f'Total   {total:.3e} FLOPs in {plan.length} {plan.unit}s of {images:,} images;')
        print(f'full fine-tuning   {whole:.3e} FLOPs. Saved: {plan.saving:.1%}')
    else:
        print(f'Saved against full fine-tuning: {plan.saving:.1%} of its FLOPs.')
        print('The training set is not here; --images N gives totals.')


def main() -> int:
    args = parse_args()
    try:
        # Imported here, so that --help answers at once.
        from mmbackbone_plugins.hooks.preflight import unreached
        from mmbackbone_plugins.lab import console, planning

        console.adapt()
        preview = planning.preview_run(
            args.config, args.cfg_options, args.shape, args.images, need_shape=not args.no_flops
        )
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not preview.has_hook:
        print('This config has no FreezingSchedulerHook: everything trains, always.\n')
    names, schedule = list(preview.freezer.stage_map.names), preview.schedule
    print(f'{args.config}\n{schedule!r} on {preview.target!r}\n')
    spans = preview.freeze_plan.phases(preview.length)
    print(draw_schedule(preview.freezer, spans, preview.length, preview.unit))
    print()
    for warning in unreached(preview.freeze_plan, spans):
        print(f'{warning}\n')
    if preview.unknown:
        print(f'{planning.unknown_text(preview.unknown)}\n')
    if args.no_flops:
        return 0
    try:
        (plan,) = preview.plan_costs(report=planning.CountProgress())
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    images = preview.images
    size = ' x '.join(map(str, preview.shape))
    print(f'One image of {size} px, forward and backward, counted by')
    print('torch.utils.flop_counter (convolutions and matrix products).\n')
    print_costs(plan, images, names)
    if args.out:
        figures = dict(
            config=os.fspath(args.config),
            schedule=plan.schedule,
            shape=preview.shape,
            images=images,
            parameters=plan.parameters,
            phases=rows(plan, images),
            training_flops=plan.training_flops * (images or 1),
            full_training_flops=plan.full_training_flops * (images or 1),
            saving=plan.saving,
            uncounted_ops=plan.uncounted_ops,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
