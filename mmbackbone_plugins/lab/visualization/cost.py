"""FLOPs of whole runs against the period of a step schedule."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from .axes import tidy
from .backend import plain, pyplot, save
from .methods import style_of


def plot_cost_over_rho(path: Union[str, Path], bills: Sequence[Mapping[str, Any]]) -> None:
    """Draws the share of full fine-tuning's FLOPs that each rho takes, a line per config.

    ``bills`` are what ``plan_cost.py --rho ...`` writes.

    Raises:
        ValueError: If no bill has a rho.
    """
    swept = [bill for bill in bills if bill.get('rho') is not None]
    if not swept:
        raise ValueError('bills must have a rho (plan_cost.py --rho 1 5 10 inf), none has')
    known = sorted({b['rho'] for b in swept if b['rho'] != 'inf'})
    order = known + (['inf'] if any(b['rho'] == 'inf' for b in swept) else [])
    places = {rho: number for number, rho in enumerate(order)}
    figure, axis = pyplot().subplots(figsize=(7.2, 4.2), layout='constrained')
    for number, config in enumerate(dict.fromkeys(b['config'] for b in swept)):
        lines = sorted((b for b in swept if b['config'] == config), key=lambda b: places[b['rho']])
        full = lines[0]['full_training_flops']
        share = [100 * b['training_flops'] / full for b in lines]
        style = style_of(number)
        look = dict(ls=style.line, color=style.color, marker=style.marker, lw=1.8)
        label = plain(f'{Path(config).stem} ({lines[0]["length"]} {lines[0]["unit"]}s)')
        axis.plot([places[b['rho']] for b in lines], share, label=label, **look)
        for bill, value in zip(lines, share if len(lines) == len(swept) else ()):
            place = (places[bill['rho']], value)
            axis.annotate(f'{value:.1f} %', place, (5, 6), textcoords='offset points')
    axis.axhline(100, color='0.5', lw=0.8, ls=(0, (4, 3)), zorder=1)
    axis.set_xticks(range(len(order)), ['∞' if rho == 'inf' else str(rho) for rho in order])
    unit = 'iteration' if all(b['unit'] == 'iteration' for b in swept) else 'epoch'
    axis.set_xlabel(f'rho: the backbone trains in every rho-th {unit}')
    axis.set_ylabel('training FLOPs, % of full fine-tuning')
    axis.set(xlim=(-0.4, len(order) - 0.6), ylim=(0, 112))
    tidy(axis)
    axis.legend(loc='lower left', facecolor='white', framealpha=1, edgecolor='0.7')
    save(figure, path)
