"""A picture of RGN from the input of a network to its output."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

from .axes import tidy
from .backend import plain, pyplot, save
from .methods import style_of

KINDS = dict(
    weight='weights of convolutions and linear layers',
    norm='factors of norm layers and layer scales',
    bias='biases',
)


def plot_rgn_over_depth(path: Union[str, Path], runs: Mapping[str, Any], title: str = '') -> None:
    """Draws RGN of every tensor from the input to the output, a panel per kind of parameter.

    The paper's figure, with two changes: a stage is as wide as any other and has its name below,
    and weights, norms and biases, which lie decades apart, are not joined into one line.

    A run is an ``RGNTable``, or RGN by parameter in order (without kinds and stages: biases are
    known by their names, and all lie in one stage).

    Raises:
        ValueError: If no run has a tensor with a gradient.
    """
    tables = {label: _tensors(run) for label, run in runs.items()}
    every = [tensor for table in tables.values() for tensor in table]
    if not every:
        raise ValueError('there is no RGN to draw: the target is frozen in every run')
    stages = list(dict.fromkeys(tensor.stage for tensor in every))
    kinds = [kind for kind in KINDS if any(kind == tensor.kind for tensor in every)]
    figure, axes = pyplot().subplots(
        len(kinds),
        sharex=True,
        squeeze=False,
        figsize=(max(7.2, 1.5 + 0.8 * len(stages)), 1.2 + 2 * len(kinds)),
        layout='constrained',
    )
    for i, (label, table) in enumerate(tables.items()):
        style = style_of(i)
        look = dict(ls=style.line, color=style.color, marker=style.marker, ms=4, lw=1.2)
        for axis, kind in zip(axes[:, 0], kinds):
            xs, ys, hollow = [], [], []
            for number, stage in enumerate(stages):
                found = [t for t in table if (t.stage, t.kind) == (stage, kind)]
                xs += [number + (k + 0.5) / len(found) for k in range(len(found))]
                # A zero has no logarithm: a gap.
                ys += [t.rgn if math.isfinite(t.rgn) and t.rgn > 0 else math.nan for t in found]
                hollow += [t.near_zero for t in found]
            full = [math.nan if near else y for y, near in zip(ys, hollow)]
            axis.plot(xs, full, **look, label=plain(label))
            near = [y if near else math.nan for y, near in zip(ys, hollow)]
            axis.plot(xs, near, **{**look, 'ls': ''}, mfc='white')
    for axis, kind in zip(axes[:, 0], kinds):
        axis.set_yscale('log')
        tidy(axis)
        axis.grid(axis='x', visible=False)
        for border in range(1, len(stages)):
            axis.axvline(border, color='0.75', lw=0.8, zorder=0)
        axis.set_title(KINDS[kind], fontsize='medium', loc='left')
    axes[-1, 0].set_xlim(0, len(stages))
    places = [number + 0.5 for number in range(len(stages))]
    turned = dict(rotation=40, ha='right') if len(stages) > 8 else {}
    axes[-1, 0].set_xticks(places, map(plain, stages), **turned)
    axes[-1, 0].tick_params(axis='x', length=0)
    figure.supylabel('relative gradient norm', fontsize='medium')
    weak = any(tensor.near_zero for tensor in every)
    note = 'hollow: the tensor is almost zero, its ratio says little' if weak else None
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside lower center', ncols=2, title=note)
    figure.suptitle(plain(title))
    save(figure, path)


class _Tensor(NamedTuple):
    stage: str
    kind: str
    rgn: float
    near_zero: bool


def _tensors(run: Any) -> list[_Tensor]:
    kinds, places = getattr(run, 'kinds', {}), getattr(run, 'places', {})
    near_zero = set(getattr(run, 'near_zero', ()))
    found = []
    for name, value in getattr(run, 'tensors', run).items():
        kind = kinds.get(name, 'bias' if 'bias' in name.rpartition('.')[2] else 'weight')
        stage = places.get(name, 'all parameters')
        found.append(_Tensor(stage, kind, value, name in near_zero))
    return found
