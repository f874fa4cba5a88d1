"""Pictures of eigenspectra: per layer, over depth, and along training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from ...hooks.jsonl import read_lines
from ...spectra.files import Spectra, load_spectra
from .axes import labelled, tidy
from .backend import plain, pyplot, save
from .methods import style_of

DECADES = 10  # below the largest eigenvalue; what is lower is rounding
PANELS = 24  # more are too small to read


def read_dynamics(work_dir: Union[str, Path]) -> list[Spectra]:
    """Reads what EigenspectrumHook has written along a run, in order.

    Raises:
        FileNotFoundError: If there is no ``eigen.jsonl`` in the work dir, or no file of spectra.
    """
    # A resumed run goes on in the file of its first start; a later one is a run of its own.
    logs = sorted(Path(work_dir).glob('*/eigen.jsonl'))
    if not logs:
        raise FileNotFoundError(
            f'no spectra in {str(work_dir)!r}: <time of a start>/eigen.jsonl is missing; train '
            'with EigenspectrumHook'
        )
    found = [load_spectra(logs[-1].parent / line['file']) for line in read_lines(logs[-1])]
    if not found:
        raise FileNotFoundError(f'{str(logs[-1])!r} has no line yet')
    return found


def plot_spectra(
    path: Union[str, Path],
    runs: Mapping[str, Spectra],
    layers: Optional[Sequence[str]] = None,
    title: str = '',
    looks: Optional[Mapping[str, Mapping[str, Any]]] = None,
    panel: tuple[float, float] = (3.1, 2.4),
) -> None:
    """Draws eigenvalues over their number, a panel per layer and a line per run.

    By default all layers are drawn, of more than 24 an even choice. ``looks`` has matplotlib's
    options of a line (``color``, ``ls``, ...) by label, for those that shall not look as usual;
    ``panel`` is the width and height of a panel in inches.

    Raises:
        ValueError: If there is no layer to draw.
    """
    names = _layers(runs.values(), layers)
    if len(names) > PANELS:
        names = [names[i] for i in np.linspace(0, len(names) - 1, PANELS).round().astype(int)]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    size = (0.6 + panel[0] * columns, 0.9 + panel[1] * rows)
    figure, axes = pyplot().subplots(
        rows, columns, squeeze=False, figsize=size, layout='constrained'
    )
    info = next(iter(runs.values())).info
    for axis in axes.flat[len(names) :]:
        axis.axis('off')
    for axis, name in zip(axes.flat, names):
        drawn = [run.layers[name] for run in runs.values() if name in run.layers]
        for i, (label, run) in enumerate(runs.items()):
            if name in run.layers:
                look = dict(ls=style_of(i).line, color=style_of(i).color, lw=1.6)
                look.update((looks or {}).get(label, {}))
                axis.plot(*_line(run.layers[name].eigenvalues), label=plain(label), **look)
        _spectrum_axis(axis, [s.eigenvalues for s in drawn], info)
        axis.set_title(f'{name} ({drawn[0].summary.width})', fontsize='small')
    for axis in axes[:, 0]:
        axis.set_ylabel('eigenvalue')
    for axis in axes.flat[max(len(names) - columns, 0) : len(names)]:
        axis.set_xlabel('number')
    found = labelled(axes.flat)
    fitting = max(2, min(4, int(panel[0] * columns / 1.4)))
    many = len(found) > fitting
    look = dict(ncols=min(len(found), fitting), fontsize='small' if many else None)
    figure.legend(found.values(), found, loc='outside lower center', frameon=not many, **look)
    figure.suptitle(title or _settings(info), fontsize='medium')
    save(figure, path)


def plot_dimension_over_depth(path: Union[str, Path], runs: Mapping[str, Spectra]) -> None:
    """Draws dimensionality, and its share of the width, over layers; ValueError if none."""
    names = _layers(runs.values())
    size = (max(6.4, min(2 + 0.42 * len(names), 22)), 6.4)
    figure, axes = pyplot().subplots(2, 1, sharex=True, figsize=size, layout='constrained')
    upper, lower = axes
    where = np.arange(len(names))
    summaries = [{n: layer.summary for n, layer in run.layers.items()} for run in runs.values()]
    widths = [next(found[n].width for found in summaries if n in found) for n in names]
    upper.step(where, widths, where='mid', color='0.6', lw=1.2, label='width')
    marker = 'o' if len(names) < 40 else '.'
    for i, (label, found) in enumerate(zip(runs, summaries)):
        for axis, key in ((upper, 'dim'), (lower, 'saturation')):
            values = [getattr(found[n], key) if n in found else math.nan for n in names]
            look = dict(color=style_of(i).color, marker=marker, ms=4, lw=1.5, label=plain(label))
            axis.plot(where, values, style_of(i).line, **look)
    upper.set_yscale('log', base=2)
    upper.yaxis.set_major_formatter('{x:g}')
    upper.set_ylabel('intrinsic dimensionality')
    lower.set(ylabel='dimensionality / width', ylim=(0, 1.05))
    step = max(1, len(names) // 40)
    lower.set_xticks(where[::step], names[::step], rotation=60, ha='right', fontsize='x-small')
    for axis in axes:
        tidy(axis)
    upper.legend(frameon=False, fontsize='small')
    figure.suptitle(_settings(next(iter(runs.values())).info), fontsize='medium')
    save(figure, path)


def plot_spectrum_dynamics(path: Union[str, Path], runs: Mapping[str, Sequence[Spectra]]) -> None:
    """Draws how dimensions and spectra move along training, a column per run.

    The upper row has the dimensionality of every layer over epochs, as a share of its width; below
    is a row per layer with its spectra, the darker the later. Equal rows have equal scales, so that
    runs compare: the paper's point is that runs of like accuracy need not end alike.

    ``runs`` come from :func:`read_dynamics`; rows are the outputs of the backbone, or the first
    layers where there are none.

    Raises:
        ValueError: If there is no layer to draw.
    """
    every = [spectra for run in runs.values() for spectra in run]
    names = _layers(every)
    stages = [n for n in names if n.startswith('backbone.stage')]
    chosen = (stages or names)[:6]
    curves = [n for n in names if n in stages or not n.startswith('backbone.')] or names
    plt = pyplot()
    figure, axes = plt.subplots(
        1 + len(chosen),
        len(runs),
        squeeze=False,
        sharey='row',
        figsize=(2.2 + 4.2 * len(runs), 3 + 2.1 * len(chosen)),
        height_ratios=[1.4] + [1] * len(chosen),
        layout='constrained',
    )
    colormap, unit = plt.get_cmap('viridis_r'), 'epochs trained'
    last = max(max(map(_epoch, every)), 1)
    for column, (label, run) in enumerate(runs.items()):
        top = axes[0][column]
        top.set_title(label, fontsize='medium')
        for i, name in enumerate(curves[:14]):
            there = [s for s in run if name in s.layers]
            points = [(_epoch(s), s.layers[name].summary.saturation) for s in there]
            if points:
                look = dict(marker='.', color=style_of(i).color, lw=1.5, label=plain(name))
                top.plot(*zip(*points), style_of(i).line, **look)
        top.set(xlabel=unit, ylim=(0, 1.05))
        tidy(top)
        for axis, name in zip(axes[1:, column], chosen):
            for spectra in (s for s in run if name in s.layers):
                color = colormap(0.08 + 0.92 * _epoch(spectra) / last)
                axis.plot(*_line(spectra.layers[name].eigenvalues), color=color, lw=1.3)
            held = [s.layers[name].eigenvalues for s in every if name in s.layers]
            _spectrum_axis(axis, held, run[0].info)
            axis.set_title(name, fontsize='small')
        axes[-1][column].set_xlabel('number of the eigenvalue')
    axes[0][0].set_ylabel('dimensionality / width')
    for axis in axes[1:, 0]:
        axis.set_ylabel('eigenvalue')
    found = labelled(axes[0])
    beside = dict(loc='upper left', bbox_to_anchor=(1.0, 1.0), handlelength=2.8)
    axes[0][-1].legend(found.values(), found, frameon=False, fontsize='x-small', **beside)
    scale = plt.cm.ScalarMappable(plt.Normalize(0, last), colormap)
    figure.colorbar(scale, ax=list(axes[1:].flat), label=unit, aspect=40)
    figure.suptitle(_settings(every[0].info), fontsize='medium')
    save(figure, path)


def _epoch(spectra: Spectra) -> float:
    return spectra.info.get('epoch', 0)


def _layers(spectra: Iterable[Spectra], wanted: Optional[Sequence[str]] = None) -> list[str]:
    names = list(dict.fromkeys(name for run in spectra for name in run.layers))
    for name in wanted or ():
        if name not in names:
            raise ValueError(f'no spectrum of {name!r}; there are: {", ".join(names)}')
    names = list(wanted or names)
    if not names:
        raise ValueError('there is no spectrum to draw')
    return names


def _line(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, len(values) + 1), np.where(values > 0, values, np.nan)


def _spectrum_axis(axis: Any, spectra: Sequence[np.ndarray], info: Mapping[str, Any]) -> None:
    top = max((values[0] for values in spectra if len(values)), default=1.0) or 1.0
    low = min((values[values > 0].min(initial=top) for values in spectra), default=top)
    axis.set_yscale('log')
    axis.set_ylim(max(low / 2, top * 10.0**-DECADES), top * 3)
    threshold = info.get('threshold')
    if threshold and not info.get('relative'):  # one line has a meaning for all runs
        axis.axhline(threshold, color='0.45', lw=0.9, ls=(0, (4, 3)))
    axis.xaxis.get_major_locator().set_params(integer=True)
    tidy(axis)


def _settings(info: Mapping[str, Any]) -> str:
    kind = 'of the largest' if info.get('relative') else 'absolute'
    parts = [f'threshold {info.get("threshold", 0):g} {kind}', f'{info.get("images", "?")} images']
    parts += ['centred'] if info.get('center') else []
    return ', '.join([*parts, *filter(None, [info.get('foreground')])])
