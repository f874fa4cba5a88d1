"""Determine a ResNet's widths from what the features of a trained detector span.

    python tools/analysis_tools/determine_widths.py CONFIG CHECKPOINT -o NEW_CONFIG

Every width becomes proportional to the intrinsic dimensionality of the feature map there, by one
factor for all, as large as the multiply-adds of CONFIG allow. NEW_CONFIG inherits CONFIG and trains
from random weights.
"""

import argparse
import hashlib
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from mmengine.config import DictAction

GROUPS = 10  # of images, to resample from; each holds the moments of all layers
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # thresholds of the sensitivity, relative to the chosen one


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of the trained detector')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('-o', '--out', type=Path, required=True, help='config file to write')
    parser.add_argument('--force', action='store_true', help='overwrite the file of --out')
    parser.add_argument(
        '--inherit',
        metavar='CONFIG',
        help='config that the new one inherits, such as one with a longer schedule; its '
        'multiply-adds are the budget; default: CONFIG',
    )
    measured = parser.add_argument_group('what the features span')
    measured.add_argument('--split', choices=['train', 'val'], default='train')
    measured.add_argument('--images', type=int, default=200, help='images to look at')
    measured.add_argument(
        '--threshold', type=float, default=1e-3, help='eigenvalues above it are counted'
    )
    measured.add_argument(
        '--relative', action='store_true', help='the threshold is relative to the largest one'
    )
    measured.add_argument(
        '--bootstrap', type=int, default=20, help='resamples of the images for intervals; 0: none'
    )
    measured.add_argument('--seed', type=int, default=0, help='of images and resamples')
    measured.add_argument('--device', help='default: the first GPU, else the CPU')
    made = parser.add_argument_group('the new widths')
    made.add_argument(
        '--multiple', type=int, help='of every width; default: 8, and the groups of a group norm'
    )
    made.add_argument(
        '--budget', type=float, default=1.0, help="share of the baseline's multiply-adds"
    )
    made.add_argument(
        '--norm',
        choices=['auto', 'gn', 'bn'],
        default='auto',
        help="of the backbone; auto: the config's if it trains, else group norm",
    )
    made.add_argument('--num-groups', type=int, default=32, help='of a new group norm')
    made.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='input size for multiply-adds; default: read off the training pipeline',
    )
    parser.add_argument('--plot', type=Path, help='picture file: widths before and after')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of CONFIG for the measurement (paths of data, workers); the new '
        'config does not have them',
    )
    args = parser.parse_args(argv)
    for name in ('images', 'threshold', 'budget', 'multiple', 'num_groups'):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {value}')
    if args.relative and args.threshold >= 1:
        parser.error(f'--threshold must be below 1 with --relative, got {args.threshold}')
    if args.bootstrap < 0:
        parser.error(f'--bootstrap must not be negative, got {args.bootstrap}')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape must be two positive integers, got {args.shape}')
    wrong = [key for key in args.cfg_options or {} if key.split('.')[0] == 'model']
    if wrong:
        parser.error(
            f'--cfg-options may not change the model, got {wrong}: the new config inherits CONFIG '
            'without them; put them into a config file'
        )
    return args


def load_detector(args: argparse.Namespace, cfg) -> Any:
    """The trained detector."""
    import torch

    from mmbackbone_plugins.lab import launch
    from mmbackbone_plugins.models.width_costs import build_detector

    cfg.model.backbone.init_cfg = None  # it would be fetched for nothing
    model = build_detector(cfg)
    launch.load_weights(model, args.checkpoint)
    return model.to(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))


def measure(model: Any, cfg, slots: Sequence[Any], args) -> list[dict[str, Any]]:
    """Second moments of each slot's feature maps, by group of images."""
    from mmengine import ProgressBar
    from mmengine.runner import Runner

    from mmbackbone_plugins.models.resnet_widths import SlotTaps
    from mmbackbone_plugins.spectra import collect_moments
    from mmbackbone_plugins.utils.sampling import SeededBatches

    # The loader is built for its data set: images are chosen by the seed alone.
    loader = Runner.build_dataloader(cfg[f'{args.split}_dataloader'], seed=args.seed)
    batches = SeededBatches(loader, model, num_images=args.images, seed=args.seed)
    args.images = images = batches.num_images
    print(f'{images} images of the {args.split} split, {len(slots)} feature maps')
    bar = ProgressBar(images, file=sys.stderr)
    groups = min(GROUPS, images)
    with SlotTaps(model, slots) as taps:
        moments = collect_moments(
            taps,
            batches,
            list(taps.layers.values()),
            groups=groups,
            forward=lambda batch: taps(batch['inputs']),
            progress=lambda done: bar.update(done - bar.completed),
        )
    print(file=sys.stderr)
    found = {name: moments[layer] for name, layer in taps.layers.items()}
    few = [n for n, parts in found.items() if sum(m.samples for m in parts) < parts[0].num_channels]
    if few:
        print(
            f'warning: fewer positions than channels at {", ".join(few)}: their dimensionality '
            'cannot exceed the number of positions; take more images',
            file=sys.stderr,
        )
    return [{name: parts[i] for name, parts in found.items()} for i in range(groups)]


def bootstrap(make_plan: Callable[[Any], Any], groups: Sequence[Any], args) -> list[Any]:
    """The plan of each resample."""
    from mmengine import ProgressBar

    from mmbackbone_plugins.spectra import resampled

    if not args.bootstrap or len(groups) < 2:
        return []
    print(f'bootstrap: {args.bootstrap} resamples of {len(groups)} groups of images')
    bar = ProgressBar(args.bootstrap, file=sys.stderr)
    plans = []
    for moments in resampled(groups, args.bootstrap, args.seed):
        plans.append(make_plan(spectra_of(moments)))
        bar.update()
    print(file=sys.stderr)
    return plans


def spectra_of(moments: Mapping[str, Any]) -> dict[str, Any]:
    from mmbackbone_plugins.spectra import eigenspectrum

    return {name: eigenspectrum(moment.matrix()) for name, moment in moments.items()}


def thresholds(args) -> list[float]:
    wanted = [args.threshold if f == 1 else args.threshold * f for f in FACTORS]
    return [t for t in wanted if not args.relative or t < 1]


def comment(args, plan, before, after) -> list[str]:
    """The head of the new config: how it was made. Equal inputs give equal lines."""
    parts = []
    skip = False
    for part in args.argv:  # what does not change the content is left out
        if skip or part in ('-o', '--out', '--plot'):
            skip = not skip
        elif part != '--force' and not part.startswith(('-o', '--out=', '--plot=')):
            parts.append(part)
    with open(args.checkpoint, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:16]
    kind = 'times the largest one' if args.relative else '(absolute)'
    return [
        f'Made by: python tools/analysis_tools/determine_widths.py {shlex.join(parts)}',
        f'The checkpoint had the sha256 {digest}...',
        '',
        f'Dimensionality: eigenvalues above {args.threshold:g} {kind}, over {args.images} images',
        f'of the {args.split} split. Widths: {plan.alpha:.6g} times that, rounded; one factor for',
        'all is our reading of arXiv 1909.04021, not its rule.',
        f'Parameters of the detector: {before.parameters:,} before, {after.parameters:,} here.',
        f'MACs of backbone and neck at {args.shape[0]} x {args.shape[1]}: {before.macs:,} before, '
        f'{after.macs:,} here.',
    ]


def write_config(args, overrides: Mapping[str, Any], head: list[str], cost) -> None:
    """Writes the new config once it is what it says: it parses, builds and costs as predicted."""
    from mmbackbone_plugins.lab import launch
    from mmbackbone_plugins.models.scratch import config_text
    from mmbackbone_plugins.models.width_costs import build_detector, count_cost

    args.out.parent.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(args.inherit, args.out.parent).replace(os.sep, '/')
    unchecked = args.out.with_name(f'_unchecked_{os.getpid()}_{args.out.name}')
    unchecked.write_text(config_text(base, overrides, head), encoding='utf-8')
    try:
        cfg = launch.load_config(str(unchecked))
        found = count_cost(lambda: build_detector(cfg), args.shape)
        if found != cost:
            raise RuntimeError(f'the written config costs {found}, predicted was {cost}')
        os.replace(unchecked, args.out)
    finally:
        unchecked.unlink(missing_ok=True)


def check_files(args) -> None:
    """What can be refused before anything is read."""
    from mmbackbone_plugins.utils import checkpoints

    if args.out.suffix != '.py':
        raise ValueError(f'--out must be a .py file, got {str(args.out)!r}')
    if args.out.exists() and not args.force:
        raise ValueError(f'--out {str(args.out)!r} exists; --force overwrites it')
    for name in (args.config, args.inherit):
        if args.out.resolve() == Path(name).resolve():
            raise ValueError(f'--out must not be a config that is read, got {str(args.out)!r}')
    if checkpoints.is_address(args.checkpoint):
        raise ValueError(f'checkpoint {args.checkpoint!r} is an address: fetch the file first')
    checkpoints.check(args.checkpoint)


def run(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab import console, launch
    from mmbackbone_plugins.lab.inputs import input_shape
    from mmbackbone_plugins.lab.zoo import find_config
    from mmbackbone_plugins.models import resnet_widths, scratch
    from mmbackbone_plugins.models.width_costs import WidthCosts, build_detector, count_cost
    from mmbackbone_plugins.spectra import (
        check_budget,
        merged,
        width_tables,
        widths_by_threshold,
    )

    console.adapt()
    # The new config names the file it inherits, so names of the zoo become paths.
    args.config = find_config(args.config)
    args.inherit = find_config(args.inherit) if args.inherit else args.config
    check_files(args)
    cfg = launch.load_config(args.config, args.cfg_options)
    target = launch.load_config(args.inherit)
    if not cfg.get(f'{args.split}_dataloader', None):
        raise ValueError(f'config {args.config!r} has no {args.split}_dataloader')
    launch.check_data(cfg, (f'{args.split}_dataloader',))
    args.shape = tuple(args.shape or input_shape(target))
    model = load_detector(args, cfg)
    slots = resnet_widths.width_slots(model.backbone)
    norm = scratch.scratch_norm(target.model.backbone, args.norm, args.num_groups)
    deep_stem = getattr(model.backbone, 'deep_stem', False)
    least = scratch.smallest_multiple(norm, deep_stem, 1)
    multiple = args.multiple or scratch.smallest_multiple(norm, deep_stem)
    if multiple % least:
        raise ValueError(
            f'--multiple must be a multiple of {least}, for the groups of {norm}; got {multiple}'
        )

    baseline = {slot.name: slot.width for slot in slots}
    costs = WidthCosts(target, model.backbone, norm, args.shape)
    before = count_cost(lambda: build_detector(target), args.shape)
    if costs(baseline).macs != before.macs:
        raise ValueError(
            f'the backbones of {args.config!r} and {args.inherit!r} have different widths: what is '
            'measured on one says nothing about the other'
        )
    fixed = dict(
        baseline_widths=baseline,
        macs=lambda widths: costs(widths).macs,
        budget=int(before.macs * args.budget),
        multiple=multiple,
    )
    check_budget(baseline, fixed['macs'], fixed['budget'], multiple)  # before any image is read

    groups = measure(model, cfg, slots, args)
    spectra = spectra_of(merged(groups))
    plans = widths_by_threshold(spectra, thresholds(args), relative=args.relative, **fixed)
    if args.threshold not in plans:
        largest = max(float(values[0]) for values in spectra.values())
        raise ValueError(
            f'--threshold {args.threshold:g} leaves nothing: the largest eigenvalue of all layers '
            f'is {largest:.3g}'
        )
    plan = plans[args.threshold]

    def make_plan(drawn: dict[str, Any]) -> Any:
        return widths_by_threshold(drawn, [args.threshold], relative=args.relative, **fixed)[
            args.threshold
        ]

    resamples = bootstrap(make_plan, groups, args)
    after = costs(plan.widths)
    print(f'\n{width_tables.width_table(baseline, plan, resamples)}')
    kind = 'of the largest eigenvalue' if args.relative else 'absolute'
    print(f'\nSensitivity to the threshold ({kind})')
    print(
        width_tables.sensitivity_table(
            thresholds(args), plans, lambda widths: costs(widths).parameters
        )
    )
    print(f'\nalpha {plan.alpha:.6g}; widths are multiples of {multiple}')
    for label, a, b in (
        ('parameters of the detector', before.parameters, after.parameters),
        (f'MACs of backbone and neck at {args.shape}', before.macs, after.macs),
    ):
        print(f'{label}: {a:,} -> {b:,}, {b / a - 1:+.1%}')
    if resamples:
        spread = width_tables.interval(costs(r.widths).parameters for r in resamples)
        print(f'parameters over resamples of the images, 5..95%: {spread}')
    if plan.dimensionalities == baseline:
        print('Every feature map spans all its channels at this threshold: nothing is narrower.')
    if after.parameters >= before.parameters:
        print('The parameters are not fewer: the rule does not promise it.')
    write_config(args, costs.overrides(plan.widths), comment(args, plan, before, after), after)
    print(f'wrote {args.out}')
    if args.plot:
        from mmbackbone_plugins.lab.visualization import plot_widths

        args.plot.parent.mkdir(parents=True, exist_ok=True)
        plot_widths(args.plot, baseline, plan.widths, plan.dimensionalities, args.out.stem)
        print(f'wrote {args.plot}')


def main(argv=None) -> int:
    args = parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else [str(part) for part in argv]
    try:
        run(args)
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


# The guard matters: workers of data loaders may spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
