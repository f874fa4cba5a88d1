"""Measure what the features of a detector span, for one or several checkpoints side by side.

    python tools/analysis_tools/analyze_eigenspectrum.py CONFIG --initial CHECKPOINT --out FOLDER
    python tools/analysis_tools/analyze_eigenspectrum.py CONFIG CHECKPOINT --run OTHER=CHECKPOINT
    python tools/analysis_tools/analyze_eigenspectrum.py --dynamics WORK_DIR WORK_DIR --out FOLDER

Eigenvalues of the second moments of layers over images, and their intrinsic dimensionality (the
number above a threshold). Without a checkpoint the weights are those that training starts from.
--dynamics draws what EigenspectrumHook has written along runs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Optional

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import add_cfg_options, check_positive, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?', help='config file')
    parser.add_argument('checkpoints', nargs='*', help='weights of the whole detector')
    parser.add_argument(
        '--initial', action='store_true', help='also the weights that training starts from'
    )
    parser.add_argument(
        '--run',
        action='append',
        default=[],
        metavar='CONFIG[=CHECKPOINT]',
        help='another config or checkpoint to put beside it; may be repeated',
    )
    parser.add_argument(
        '--dynamics', nargs='+', default=[], metavar='WORK_DIR', help='runs with EigenspectrumHook'
    )
    parser.add_argument(
        '--layers',
        nargs='+',
        help="names of modules or patterns such as 'backbone.layer1.*' (quoted); default: outputs "
        "of the backbone's stages and the neck",
    )
    parser.add_argument(
        '--convolutions',
        action='store_true',
        help='also every convolution, norm layer and activation of backbone and neck',
    )
    parser.add_argument('--threshold', type=float, default=1e-3, help="default: the paper's 1e-3")
    parser.add_argument(
        '--relative', action='store_true', help='threshold is a part of the largest eigenvalue'
    )
    parser.add_argument('--center', action='store_true', help='subtract the mean')
    parser.add_argument(
        '--foreground',
        choices=['foreground', 'background', 'classes'],
        help='only positions in the ground-truth boxes, or only the others; classes of '
        'segmentation labels, each by itself',
    )
    parser.add_argument(
        '--stride', type=int, default=1, help='take only every STRIDE-th row and column'
    )
    parser.add_argument('--num-images', type=int, default=200, help='default: 200')
    parser.add_argument(
        '--split', choices=['val', 'train', 'test'], default='val', help='whose images'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the images and fresh weights')
    parser.add_argument('--device', help='default: the first GPU, else the CPU')
    parser.add_argument('--out', type=Path, help='folder for .npz files and pictures')
    add_cfg_options(parser)
    args = parser.parse_intermixed_args(argv)  # checkpoints may come after options
    if not args.config and not args.dynamics:
        parser.error('give a CONFIG, or work dirs after --dynamics')
    if args.dynamics and not args.config and not args.out:
        parser.error('--dynamics needs --out, the folder for the picture')
    check_positive(parser, args, 'stride', 'num_images')
    return args


def wanted_runs(args) -> list[tuple[str, Optional[str]]]:
    """Configs with their checkpoints; None is the start of training."""
    if not args.config:
        return []
    wanted = [(args.config, None)] if args.initial or not args.checkpoints else []
    wanted += [(args.config, checkpoint) for checkpoint in args.checkpoints]
    return wanted + [(c, k or None) for c, _, k in (run.partition('=') for run in args.run)]


def labels_of(wanted: list[tuple[str, Optional[str]]]) -> list[str]:
    """What tells the runs apart: the checkpoint's name, with its folder and config where needed."""
    short = [Path(k).stem if k else 'initial' for _, k in wanted]
    if len({config for config, _ in wanted}) > 1:
        short = [f'{Path(c).stem} @ {name}' for (c, _), name in zip(wanted, short)]
    if len(set(short)) < len(short):
        parents = [Path(k).parent.name if k else '' for _, k in wanted]
        short = [f'{p}/{name}' if p else name for p, name in zip(parents, short)]
    return [
        f'{name} ({i})' if short.count(name) > 1 else name for i, name in enumerate(short, start=1)
    ]


def measure(args, label: str, config: str, checkpoint: Optional[str]) -> Any:
    """Builds a detector and its data, and measures."""
    from mmengine import ProgressBar
    from mmengine.logging import MMLogger
    from mmengine.runner import Runner

    from mmbackbone_plugins import spectra
    from mmbackbone_plugins.lab import launch
    from mmbackbone_plugins.utils.sampling import SeededBatches

    cfg = launch.load_config(config, args.cfg_options)
    loader_name = f'{args.split}_dataloader'
    if cfg.get(loader_name) is None:
        raise ValueError(f'{config!r} has no {loader_name}; --split chooses another one')
    launch.check_data(cfg, (loader_name,))
    MMLogger.get_current_instance().setLevel('WARNING')  # else a line for every weight's start
    model, device = launch.build_detector(cfg, checkpoint, args.seed, args.device)
    layers = spectra.resolve_layers(model, args.layers or spectra.default_layers(model))
    if args.convolutions:
        roots = spectra.default_layers(model)
        inside = spectra.convolution_layers(model, roots)
        layers += [name for name in inside if name not in layers]
    loader = Runner.build_dataloader(cfg[loader_name], seed=args.seed)
    batches = SeededBatches(loader, model, num_images=args.num_images, seed=args.seed)
    print(f'{label}: {batches.num_images} images ({args.split}) on {device}')
    bar = ProgressBar(batches.num_images, file=sys.stderr)
    moments = spectra.collect_moments(
        model,
        batches,
        layers,
        foreground=args.foreground,
        stride=args.stride,
        progress=lambda done: bar.update(done - bar.completed),
    )
    print(file=sys.stderr)
    empty = [name for name, moment in moments.items() if not moment.images]
    if len(empty) == len(moments):
        raise ValueError(f'no position of any image counts (--foreground {args.foreground})')
    if empty:
        print(f'warning: left out, for no position counts: {", ".join(empty)}', file=sys.stderr)
    info = dict(label=label, config=config, checkpoint=checkpoint, images=batches.num_images)
    settings = ('threshold', 'relative', 'center', 'foreground', 'stride', 'split', 'seed')
    info.update({name: getattr(args, name) for name in settings})
    layers = {
        name: spectra.summarize(moment, args.threshold, args.relative, args.center)
        for name, moment in moments.items()
        if moment.images
    }
    return spectra.Spectra(layers, info)


def table(spectra: Any) -> str:
    """All numbers of one run, a row per layer."""
    from mmbackbone_plugins.utils.text import table as aligned

    rows = [['layer', 'width', 'dim', 'dim/width', 'eff. rank', 'part. ratio', 'decay', 'largest']]
    for name, spectrum in spectra.layers.items():
        s = spectrum.summary
        limited = '*' if s.rank_limited else ''
        row = [name, f'{s.width}', f'{s.dim}{limited}', f'{s.saturation:.3f}']
        row += [f'{s.effective_rank:.1f}', f'{s.participation_ratio:.1f}']
        rows.append([*row, f'{s.decay:.2f}', f'{s.largest:.3g}'])
    text = aligned(rows)
    if spectra.rank_limited:
        text += '\n* fewer positions than channels: the images limit it, take more of them'
    return text


def side_by_side(runs: dict[str, Any]) -> str:
    """Dimension and effective rank of the layers, a column per run."""
    from mmbackbone_plugins.utils.text import table as aligned

    names = list(dict.fromkeys(n for run in runs.values() for n in run.layers))
    rows = [['layer', *(f'({i})' for i in range(1, len(runs) + 1))]]
    for name in names:
        cells = []
        for run in runs.values():
            if name in run.layers:
                s = run.layers[name].summary
                cells.append(f'{s.dim}/{s.width}, {s.effective_rank:.1f}')
            else:
                cells.append('-')
        rows.append([name, *cells])
    head = [f'({i}) {label}' for i, label in enumerate(runs, start=1)]
    return '\n'.join([*head, '', 'dimension/width, effective rank', aligned(rows)])


def write(folder: Path, runs: dict[str, Any], dynamics: dict[str, Any]) -> list[str]:
    """Writes files and pictures; returns their names."""
    from mmbackbone_plugins.lab import visualization as draw
    from mmbackbone_plugins.spectra import save_spectra

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for label, spectra in runs.items():
        safe = ''.join(c if c.isalnum() or c in '-_.' else '_' for c in label)
        save_spectra(folder / f'{safe}.npz', spectra)
        written.append(f'{safe}.npz')
    if runs:
        draw.plot_spectra(folder / 'spectra.png', runs)
        draw.plot_dimension_over_depth(folder / 'dimension.png', runs)
        written += ['spectra.png', 'dimension.png']
    if dynamics:
        draw.plot_spectrum_dynamics(folder / 'dynamics.png', dynamics)
        written.append('dynamics.png')
    return written


def work(args: argparse.Namespace) -> None:
    # First what fails at once: a mistake should not cost the measurement.
    from mmbackbone_plugins.lab.visualization import pyplot, read_dynamics
    from mmbackbone_plugins.spectra import check_threshold
    from mmbackbone_plugins.utils import checkpoints

    check_threshold(args.threshold, args.relative)
    if args.out:
        pyplot()
    dynamics = {}
    for folder in args.dynamics:
        label = Path(folder).name or folder
        dynamics[label if label not in dynamics else folder] = read_dynamics(folder)
    wanted = wanted_runs(args)
    for checkpoint in filter(None, (checkpoint for _, checkpoint in wanted)):
        checkpoints.check(checkpoint)
    runs = {label: measure(args, label, *one) for label, one in zip(labels_of(wanted), wanted)}
    for label, spectra in runs.items():
        print(f'\n{label}\n{table(spectra)}')
    if len(runs) > 1:
        print(f'\n{side_by_side(runs)}')
    if args.out:
        names = write(args.out, runs, dynamics)
        print(f'\nwrote {", ".join(names)} in {args.out}')


def main(argv=None) -> int:
    return run_tool(work, parse_args(argv))


# The guard matters: workers of data loaders may spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
