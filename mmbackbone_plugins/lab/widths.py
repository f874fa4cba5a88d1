"""New widths for a backbone, from a trained detector to a config; for determine_widths.py."""

import hashlib
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine import ProgressBar
from mmengine.runner import Runner

from ..models import scratch
from ..models.resnet_widths import SlotTaps, width_slots
from ..models.width_costs import WidthCosts, build_detector, count_cost
from ..spectra import (
    WidthPlan,
    check_budget,
    collect_moments,
    eigenspectrum,
    merged,
    resampled,
    widths_by_threshold,
)
from ..utils import checkpoints
from ..utils.sampling import SeededBatches
from . import launch
from .inputs import input_shape
from .visualization import plot_widths
from .width_tables import interval, sensitivity_table, width_table
from .zoo import find_config

GROUPS = 10  # of images, to resample from; each holds the moments of all layers
FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)  # thresholds of the sensitivity, relative to the chosen one

Moments = Mapping[str, Any]  # by slot


class WidthStudy:
    """Measures what the features of a detector span, and writes a config with widths to match.

    ``args`` are the options of ``determine_widths.py`` and, as ``argv``, its words.

    Raises:
        FileNotFoundError: If a config, the checkpoint or the data is missing.
        ValueError: If anything does not fit together; no image has been read then.
    """

    def __init__(self, args: Namespace) -> None:
        self.args = args
        # The new config names the file it inherits, so names of the zoo become paths.
        args.config = find_config(args.config)
        args.inherit = find_config(args.inherit) if args.inherit else args.config
        _check_files(args)
        self.cfg = launch.load_config(args.config, args.cfg_options)
        target = launch.load_config(args.inherit)
        loader = f'{args.split}_dataloader'
        if not self.cfg.get(loader, None):
            raise ValueError(f'config {args.config!r} has no {loader}')
        launch.check_data(self.cfg, (loader,))
        self.shape = tuple(args.shape or input_shape(target))
        self.model, _ = launch.build_detector(self.cfg, args.checkpoint, args.seed, args.device)
        backbone = self.model.backbone
        self.slots = width_slots(backbone)
        norm = scratch.scratch_norm(target.model.backbone, args.norm, args.num_groups)
        deep_stem = getattr(backbone, 'deep_stem', False)
        least = scratch.smallest_multiple(norm, deep_stem, 1)
        self.multiple = args.multiple or scratch.smallest_multiple(norm, deep_stem)
        if self.multiple % least:
            raise ValueError(
                f'--multiple must be a multiple of {least}, for the groups of {norm}; '
                f'got {self.multiple}'
            )
        self.baseline = {slot.name: slot.width for slot in self.slots}
        self.costs = WidthCosts(target, backbone, norm, self.shape)
        self.before = count_cost(lambda: build_detector(target), self.shape)
        if self.costs(self.baseline).macs != self.before.macs:
            raise ValueError(
                f'the backbones of {args.config!r} and {args.inherit!r} have different widths: '
                'what is measured on one says nothing about the other'
            )
        self.budget = int(self.before.macs * args.budget)
        check_budget(self.baseline, self._macs, self.budget, self.multiple)

    def run(self) -> None:
        """Measures, prints what follows, and writes the config and the picture."""
        args = self.args
        groups = self._measure()
        spectra = _spectra(merged(groups))
        wanted = [args.threshold if f == 1 else args.threshold * f for f in FACTORS]
        wanted = [t for t in wanted if not args.relative or t < 1]
        plans = self._plans(spectra, wanted)
        if args.threshold not in plans:
            largest = max(float(values[0]) for values in spectra.values())
            raise ValueError(
                f'--threshold {args.threshold:g} leaves nothing: the largest eigenvalue of all '
                f'layers is {largest:.3g}'
            )
        plan, resamples = plans[args.threshold], self._bootstrap(groups)
        print(f'\n{width_table(self.baseline, plan, resamples)}')
        kind = 'of the largest eigenvalue' if args.relative else 'absolute'
        print(f'\nSensitivity to the threshold ({kind})')
        print(sensitivity_table(wanted, plans, self._parameters))
        self._print_costs(plan, resamples)
        self._write(plan)
        print(f'wrote {args.out}')
        if args.plot:
            args.plot.parent.mkdir(parents=True, exist_ok=True)
            plot_widths(args.plot, self.baseline, plan.widths, plan.dimensionalities, args.out.stem)
            print(f'wrote {args.plot}')

    def _macs(self, widths: Mapping[str, int]) -> int:
        return self.costs(widths).macs

    def _parameters(self, widths: Mapping[str, int]) -> int:
        return self.costs(widths).parameters

    def _plans(
        self, spectra: Mapping[str, Any], thresholds: Iterable[float]
    ) -> dict[float, WidthPlan]:
        fixed = (self.baseline, self._macs, self.budget, self.multiple, self.args.relative)
        return widths_by_threshold(spectra, thresholds, *fixed)

    def _measure(self) -> list[Moments]:
        """Second moments of each slot's feature maps, by group of images."""
        args = self.args
        # The loader is built for its data set: images are chosen by the seed alone.
        loader = Runner.build_dataloader(self.cfg[f'{args.split}_dataloader'], seed=args.seed)
        batches = SeededBatches(loader, self.model, num_images=args.images, seed=args.seed)
        args.images = images = batches.num_images
        print(f'{images} images of the {args.split} split, {len(self.slots)} feature maps')
        bar = ProgressBar(images, file=sys.stderr)
        groups = min(GROUPS, images)
        with SlotTaps(self.model, self.slots) as taps:
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
        few = [n for n, p in found.items() if sum(m.samples for m in p) < p[0].num_channels]
        if few:
            print(
                f'warning: fewer positions than channels at {", ".join(few)}: their dimensionality '
                'cannot exceed the number of positions; take more images',
                file=sys.stderr,
            )
        return [{name: parts[i] for name, parts in found.items()} for i in range(groups)]

    def _bootstrap(self, groups: Sequence[Moments]) -> list[WidthPlan]:
        """The plan of each resample of the images."""
        args = self.args
        if not args.bootstrap or len(groups) < 2:
            return []
        print(f'bootstrap: {args.bootstrap} resamples of {len(groups)} groups of images')
        bar = ProgressBar(args.bootstrap, file=sys.stderr)
        plans = []
        for moments in resampled(groups, args.bootstrap, args.seed):
            plans.append(self._plans(_spectra(moments), [args.threshold])[args.threshold])
            bar.update()
        print(file=sys.stderr)
        return plans

    def _print_costs(self, plan: WidthPlan, resamples: Sequence[WidthPlan]) -> None:
        before, after = self.before, self.costs(plan.widths)
        print(f'\nalpha {plan.alpha:.6g}; widths are multiples of {self.multiple}')
        for label, a, b in (
            ('parameters of the detector', before.parameters, after.parameters),
            (f'MACs of backbone and neck at {self.shape}', before.macs, after.macs),
        ):
            print(f'{label}: {a:,} -> {b:,}, {b / a - 1:+.1%}')
        if resamples:
            spread = interval(self._parameters(r.widths) for r in resamples)
            print(f'parameters over resamples of the images, 5..95%: {spread}')
        if plan.dimensionalities == self.baseline:
            print(
                'Every feature map spans all its channels at this threshold: nothing is narrower.'
            )
        if after.parameters >= before.parameters:
            print('The parameters are not fewer: the rule does not promise it.')

    def _write(self, plan: WidthPlan) -> None:
        """Writes the config once it is what it says: it parses, builds and costs as predicted."""
        out: Path = self.args.out
        out.parent.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(self.args.inherit, out.parent).replace(os.sep, '/')
        text = scratch.config_text(base, self.costs.overrides(plan.widths), self._head(plan))
        unchecked = out.with_name(f'_unchecked_{os.getpid()}_{out.name}')
        unchecked.write_text(text, encoding='utf-8')
        try:
            cfg = launch.load_config(str(unchecked))
            found = count_cost(lambda: build_detector(cfg), self.shape)
            cost = self.costs(plan.widths)
            if found != cost:
                raise RuntimeError(f'the written config costs {found}, predicted was {cost}')
            os.replace(unchecked, out)
        finally:
            unchecked.unlink(missing_ok=True)

    def _head(self, plan: WidthPlan) -> list[str]:
        """The head of the new config: how it was made. Equal inputs give equal lines."""
        args, before, after = self.args, self.before, self.costs(plan.widths)
        height, width = self.shape
        digest = hashlib.sha256(Path(args.checkpoint).read_bytes()).hexdigest()[:16]
        command = shlex.join(_words_that_matter(args.argv))
        above = f'{args.threshold:g} {"times the largest one" if args.relative else "(absolute)"}'
        scaled = f'{plan.alpha:.6g} times that, rounded'
        return [
            f'Made by: python tools/analysis_tools/determine_widths.py {command}',
            f'The checkpoint had the sha256 {digest}...',
            '',
            f'Dimensionality: eigenvalues above {above}, over {args.images} images',
            f'of the {args.split} split. Widths: {scaled}; one factor for',
            'all is our reading of arXiv 1909.04021, not its rule.',
            f'Parameters of the detector: {before.parameters:,} before, {after.parameters:,} here.',
            f'MACs of backbone and neck at {height} x {width}: {before.macs:,} before, '
            f'{after.macs:,} here.',
        ]


def _words_that_matter(argv: Iterable[str]) -> list[str]:
    """The command line without what does not change the content."""
    kept, skip = [], False
    for word in argv:
        if skip or word in ('-o', '--out', '--plot'):
            skip = not skip
        elif word != '--force' and not word.startswith(('-o', '--out=', '--plot=')):
            kept.append(word)
    return kept


def _spectra(moments: Moments) -> dict[str, Any]:
    return {name: eigenspectrum(moment.matrix()) for name, moment in moments.items()}


def _check_files(args: Namespace) -> None:
    """What can be refused before anything is read."""
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
