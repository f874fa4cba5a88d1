"""Figures of what results say: differences, trade-off, gain, test sets."""

import numpy as np

from ...visualization import (
    Difference,
    Point,
    plot_differences,
    plot_domains,
    plot_gain,
    plot_pareto,
)
from .blocks import Figure
from .figure_writer import FigureWriter
from .groups import RGN, Group
from .statistics import Correlation, difference
from .tables import signed, unit_for


def differences(writer: FigureWriter, group: Group) -> Figure:
    """Difference to the baseline by seed, out of domain where there is another domain."""
    outside = bool(group.out_of_domain)
    where = 'out of domain (OOD)' if outside else 'in domain'
    figure = Figure(
        f'Difference to {group.baseline or "the baseline"}, {where}',
        'A ring is a seed, a diamond the mean, a bar its 95 % t-interval (none with fewer than 3 '
        'seeds); paired by seed, the best mean on top. Behind a name: its training FLOPs, of full.',
    )
    rows = []
    for method in group.methods.values():
        gain = method.estimates[f'{group.scores[outside]}_gain']
        if gain.mean is None or method.name == group.baseline:
            continue
        share = method.mean('share_of_full')
        name = method.name if share is None else f'{method.name}, {100 * share:.0f} %'
        ends = [None if end is None else 100 * end for end in (gain.low, gain.high)]
        values = [100 * value for value in gain.values.values()]
        rows.append(Difference(name, values, 100 * gain.mean, *ends))
    if not rows:
        figure.caption = 'Not drawn: no method has a seed in common with the baseline.'
        return figure
    rows.sort(key=lambda row: -row.mean)
    alt = f'{group.metric} {where} of {len(rows)} methods minus that of {group.baseline}, by seed.'
    label = f'{group.metric} minus that of {group.baseline}, percentage points'
    look = (rows, label, f'{group.metric} {where}')
    figure.pictures.append(writer.draw(group, ('differences',), alt, plot_differences, *look))
    return figure


def pareto(writer: FigureWriter, group: Group) -> Figure:
    """Score in and out of domain against training FLOPs."""
    figure = Figure(
        'Accuracy against the cost of training',
        'Mean over seeds; bars reach one sample standard deviation up and down. The dashed '
        'line joins the methods that no other beats in both cost and mean (the Pareto front). '
        'Neighbours on it may be within the spread of each other.',
    )
    unit = unit_for('flops', group.means('flops').values())
    for key, where in zip(group.scores, ('in domain', 'out of domain (OOD)')):
        label = f'{group.metric} {where}'
        points = []
        for method in group.methods.values():
            score, cost = method.estimates[key], method.mean('flops')
            if score.mean is not None and cost is not None:
                y, sd = 100 * score.mean, 100 * (score.sd or 0)
                ends = (None, None) if score.sd is None else (y - sd, y + sd)
                points.append(Point(method.name, cost / unit.size, y, *ends))
        if not points:
            figure.caption += f' No run has both {label} and FLOPs: not drawn.'
            continue
        front = group.fronts[key]
        alt = f'{label} of {len(points)} methods against training FLOPs. Front: {", ".join(front)}.'
        look = (points, front, writer.styles, f'training cost, {unit.name}', f'{label}, %', label)
        figure.pictures.append(writer.draw(group, ('pareto', key), alt, plot_pareto, *look))
    return figure


def gain(writer: FigureWriter, group: Group) -> Figure:
    """OOD gain against RGN."""
    found = group.correlations['rgn']
    figure = Figure(
        'Relative gradient norm and out-of-domain gain',
        f'OOD gain: {group.metric} out of domain minus that of the baseline, mean of the '
        'differences paired by seed; vertical bars are its 95 % t-intervals (none with fewer than '
        f'3 seeds). RGN: {RGN[group.rgn]}, mean over training; horizontal bars are one standard '
        'deviation. The baseline has gain 0 by definition and counts as a method in the '
        'correlation. A correlation over a handful of methods is a description of these methods.',
    )
    if found.left_out:
        figure.caption += f' Without RGN or gain, and left out: {", ".join(found.left_out)}.'
    points = []
    for name in found.names:
        estimates = group.methods[name].estimates
        gain, rgn = estimates[f'{group.scores[1]}_gain'], estimates['rgn']
        known = gain.low is not None and name != group.baseline
        bars = (100 * gain.low, 100 * gain.high) if known else (None, None)
        sides = (rgn.mean - rgn.sd, rgn.mean + rgn.sd) if rgn.sd else (None, None)
        points.append(Point(name, rgn.mean, 100 * gain.mean, *bars, *sides))
    if not points:
        figure.caption = 'Not drawn: no method has both RGN and an OOD gain over the baseline.'
        return figure
    text = _correlation_text(found)
    alt = f'OOD gain of {len(points)} methods against RGN. {text}'.replace('\n', ' ')
    axes = (
        f'relative gradient norm ({RGN[group.rgn]})',
        f'OOD gain in {group.metric}, percentage points',
    )
    look = (points, writer.styles, *axes, text)
    figure.pictures.append(writer.draw(group, ('rgn-gain',), alt, plot_gain, *look))
    return figure


def domains(writer: FigureWriter, group: Group) -> Figure:
    """MAP by method and test set."""
    names, methods = group.domains, [m for m in group.methods.values() if m.finished]
    figure = Figure(
        'Every method on every test set',
        f'Numbers: {group.metric} in %, mean over seeds. The bar parts the domain that was '
        'trained on (left) from the others.',
    )
    if not names or not methods:
        figure.caption = 'Not drawn: no run has finished.'
        return figure
    scores = np.array([[m.domains[d].mean for d in names] for m in methods], float)
    shades, label = None, f'{group.metric}, %'
    if group.baseline and len(methods) > 1:
        base = group.methods[group.baseline].domains
        pairs = [[(m.domains[d].values, base[d].values) for d in names] for m in methods]
        shades = 100 * np.array([[difference(*pair).mean for pair in row] for row in pairs], float)
        label = f'difference to {group.baseline}, percentage points'
        figure.caption += f' Colours: difference to {group.baseline}, paired by seed.'
    alt = f'{group.metric} of {len(methods)} methods on {len(names)} test sets'
    alt += '; the table has the numbers.'
    look = (100 * scores, [m.name for m in methods], names, shades, label, len(group.in_domain))
    figure.pictures.append(writer.draw(group, ('domains',), alt, plot_domains, *look))
    return figure


def _correlation_text(found: Correlation) -> str:
    if found.pearson is None:
        return f'{len(found.names)} methods: no correlation (too few, or all alike)'
    lines = []
    for label, value, span in (
        ("Pearson's r", found.pearson, found.pearson_range),
        ("Spearman's rho", found.spearman, found.spearman_range),
    ):
        leaving = f' (leaving one method out: {signed(*span)})' if span else ''
        lines.append(f'{label} {signed(value)}{leaving}')
    return '\n'.join(lines)
