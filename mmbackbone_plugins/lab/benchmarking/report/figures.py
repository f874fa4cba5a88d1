"""Figures of what results say: trade-off, gain, test sets."""

import math
from typing import Optional

import numpy as np

from ...visualization import Point, plot_domains, plot_gain, plot_pareto
from .groups import RGN, Group
from .sketchbook import Figure, Picture, Sketchbook, look
from .statistics import Correlation, difference
from .tables import range_text, signed, unit_for


def pareto(book: Sketchbook, group: Group) -> Figure:
    """Score in and out of domain against training FLOPs."""
    figure = Figure(
        'Accuracy against the cost of training',
        'Mean over seeds; bars reach one sample standard deviation up and down. The dashed '
        'line joins the methods that no other beats in both cost and mean (the Pareto front). '
        'Neighbours on it may be within the spread of each other.',
    )
    unit = unit_for('flops', [m.mean('flops') for m in group.methods.values()])
    for key, label in (('mAP', 'mAP in domain'), ('ood_mAP', 'mAP out of domain (OOD)')):
        points = []
        for method in group.methods.values():
            score, cost = method.estimates[key], method.mean('flops')
            if score.mean is None or cost is None:
                continue
            y, x = 100 * score.mean, cost / unit.size
            sd = None if score.sd is None else 100 * score.sd
            ends = (None, None) if sd is None else (y - sd, y + sd)
            points.append(Point(method.name, x, y, *ends))
        if not points:
            figure.caption += f' No run has both {label} and FLOPs: not drawn.'
            continue
        file = book.file(group.dataset, group.detector, 'pareto', key)
        with look():
            plot_pareto(
                book.out / file,
                points,
                group.fronts[key],
                book.styles,
                f'training cost, {unit.name}',
                f'{label}, %',
                f'{label[0].upper()}{label[1:]}' if label[0] != 'm' else label,
            )
        front = ', '.join(group.fronts[key])
        alt = f'{label} of {len(points)} methods against training FLOPs. Front: {front}.'
        figure.pictures.append(Picture(file, alt))
    return figure


def gain(book: Sketchbook, group: Group) -> Figure:
    """OOD gain against RGN."""
    found = group.correlations['rgn']
    figure = Figure(
        'Relative gradient norm and out-of-domain gain',
        'OOD gain: mAP out of domain minus that of the baseline, mean of the differences '
        'paired by seed; vertical bars are its 95 % t-intervals (none with fewer than 3 '
        f'seeds). RGN: {RGN[group.rgn]}, mean over training; horizontal bars are one standard '
        'deviation. The baseline has gain 0 by definition and counts as a method in the '
        'correlation. A correlation over a handful of methods is a description of these methods.',
    )
    if found.left_out:
        figure.caption += f' Without RGN or gain, and left out: {", ".join(found.left_out)}.'
    points = []
    for name in found.names:
        method = group.methods[name]
        gain, rgn = method.estimates['ood_mAP_gain'], method.estimates['rgn']
        known = gain.low is not None and name != group.baseline
        bars = (100 * gain.low, 100 * gain.high) if known else (None, None)
        sides = (rgn.mean - rgn.sd, rgn.mean + rgn.sd) if rgn.sd else (None, None)
        points.append(Point(name, rgn.mean, 100 * gain.mean, *bars, *sides))
    if not points:
        figure.caption = 'Not drawn: no method has both RGN and an OOD gain over the baseline.'
        return figure
    text = _correlation_text(found)
    file = book.file(group.dataset, group.detector, 'rgn-gain')
    with look():
        plot_gain(
            book.out / file,
            points,
            book.styles,
            f'relative gradient norm ({RGN[group.rgn]})',
            'OOD gain in mAP, percentage points',
            text,
        )
    alt = f'OOD gain of {len(points)} methods against RGN. {text}'
    figure.pictures.append(Picture(file, alt.replace('\n', ' ')))
    return figure


def domains(book: Sketchbook, group: Group) -> Figure:
    """MAP by method and test set."""
    names = group.in_domain + group.out_of_domain
    methods = [m for m in group.methods.values() if m.finished]
    figure = Figure(
        'Every method on every test set',
        'Numbers: mAP in %, mean over seeds. The bar parts the domain that was trained on '
        '(left) from the others.',
    )
    if not names or not methods:
        figure.caption = 'Not drawn: no run has finished.'
        return figure
    scores = [[_percent(m.domains[d].mean) for d in names] for m in methods]
    shades, label = None, 'mAP, %'
    if group.baseline and len(methods) > 1:
        base = group.methods[group.baseline].domains
        gains = [
            [_percent(difference(m.domains[d].values, base[d].values).mean) for d in names]
            for m in methods
        ]
        shades, label = np.array(gains), f'difference to {group.baseline}, percentage points'
        figure.caption += f' Colours: difference to {group.baseline}, paired by seed.'
    file = book.file(group.dataset, group.detector, 'domains')
    with look():
        plot_domains(
            book.out / file,
            np.array(scores),
            [m.name for m in methods],
            names,
            shades,
            label,
            len(group.in_domain),
        )
    alt = f'mAP of {len(methods)} methods on {len(names)} test sets; the table has the numbers.'
    figure.pictures.append(Picture(file, alt))
    return figure


def _percent(value: Optional[float]) -> float:
    return math.nan if value is None else 100 * value


def _correlation_text(found: Correlation) -> str:
    if found.pearson is None:
        return f'{len(found.names)} methods: no correlation (too few, or all alike)'
    lines = []
    for label, value, span in (
        ("Pearson's r", found.pearson, found.pearson_range),
        ("Spearman's rho", found.spearman, found.spearman_range),
    ):
        leaving = f' (leaving one method out: {range_text(span)})' if span else ''
        lines.append(f'{label} {signed(value)}{leaving}')
    return '\n'.join(lines)
