"""Numbers as text: the tables of the report."""

import math
from collections.abc import Iterable
from typing import NamedTuple, Optional

from .blocks import Entry, Table
from .groups import Group, Method, Summary
from .statistics import Estimate

NONE = '-'
MINUS = '\u2212'


class Unit(NamedTuple):
    """How a quantity is written: divided by ``size``, with so many decimals."""

    name: str
    size: float
    decimals: Optional[int] = 1  # None: three significant digits

    def text(self, value: float, sign: bool = False) -> str:
        """Writes a number in this unit; a minus is a minus, not a hyphen."""
        plus = '+' if sign else ''
        return f'{value / self.size:{plus}.{self.places(value)}f}'.replace('-', MINUS)

    def places(self, value: float) -> int:
        """Decimals of a number; what stands behind its ± has as many."""
        if self.decimals is not None:
            return self.decimals
        value = abs(value / self.size)
        return min(8, max(0, 2 - math.floor(math.log10(value)))) if value else 0

    def spread(self, mean: float, deviation: float) -> str:
        """Deviation with the decimals of its mean; empty where that rounds to 0."""
        text = f'{deviation / self.size:.{self.places(mean)}f}'
        return text if float(text) else ''


PERCENT = Unit('%', 0.01)
_UNITS = dict(
    plain=[Unit('', 1, None), Unit('×\u00a010⁻³', 1e-3, None), Unit('×\u00a010⁻⁶', 1e-6, None)],
    flops=[Unit(f'{p}FLOPs', s, None) for p, s in zip('EPTGM', (1e18, 1e15, 1e12, 1e9, 1e6))],
    seconds=[Unit('h', 3600, 2), Unit('min', 60), Unit('s', 1)],
    bytes=[Unit('GiB', 2**30, 2), Unit('MiB', 2**20, 0), Unit('KiB', 2**10, 0)],
    percent=[PERCENT],
)


def unit_for(kind: str, values: Iterable[Optional[float]]) -> Unit:
    """One unit for a whole column, by its largest number, so that its entries compare.

    Args:
        kind: ``'percent'``, ``'flops'``, ``'seconds'``, ``'bytes'`` or ``'plain'``.
        values: The numbers of the column.
    """
    choice = _UNITS[kind]
    top = max((v for v in values if v is not None), default=0)
    if not top:
        return choice[0]
    # Plain numbers keep their size down to 0.1: 0.5 is easier than 500 times 0.001.
    least = 0.1 if kind == 'plain' else 1
    return next((unit for unit in choice if top >= least * unit.size), choice[-1])


def estimate_entry(found: Estimate, unit: Unit, n: Optional[int] = None) -> Entry:
    """Mean and standard deviation; says the number of seeds where it is not ``n``."""
    if found.mean is None:
        return Entry(NONE)
    spread = '' if found.sd is None else unit.spread(found.mean, found.sd)
    text = unit.text(found.mean) + (f' ± {spread}' if spread else '')
    return Entry(text, f'n = {found.n}' if n is not None and found.n != n else '')


def gain_entry(found: Estimate) -> Entry:
    """Mean of a difference with its sign, and the interval where there is one."""
    if found.mean is None:
        return Entry(NONE)
    mean, *ends = (
        PERCENT.text(v, True) for v in (found.mean, found.low, found.high) if v is not None
    )
    return Entry(mean, f'[{", ".join(ends)}]' if ends else 'no interval')


# What the main table shows, in this order: the quantity (of summary.QUANTITIES, or the gain of one
# over the baseline), its heading and kind.
COLUMNS = (
    ('mAP', 'mAP', 'percent'),
    ('AP50', 'AP50', 'percent'),
    ('AP75', 'AP75', 'percent'),
    ('mAP_gain', 'mAP, difference to {baseline}', 'gain'),
    ('ood_mAP', 'OOD mAP', 'percent'),
    ('ood_mAP_gain', 'OOD mAP, difference to {baseline}', 'gain'),
    ('flops', 'training', 'flops'),
    ('share_of_full', 'of full', 'percent'),
    ('seconds', 'time', 'seconds'),
    ('peak_memory', 'peak memory', 'bytes'),
    ('trainable_share', 'trainable', 'percent'),
    ('rgn', 'RGN', 'plain'),
    ('drift', 'drift', 'plain'),
)


def main_table(group: Group) -> Table:
    """The table of a data set and a detector: a row a method."""
    header, columns = ['method', 'n'], []
    methods = group.methods.values()
    for key, heading, kind in COLUMNS:
        heading = heading.format(baseline=group.baseline or 'the baseline')
        if kind == 'gain':
            columns.append([_gain(method, key, group) for method in methods])
        else:
            unit = unit_for(kind, group.means(key).values())
            heading = f'{heading} {unit.name}'.strip()
            columns.append(
                [estimate_entry(m.estimates[key], unit, len(m.finished)) for m in methods]
            )
        header.append(heading)
    names = [Entry(method.name, _state(method)) for method in methods]
    numbers = [Entry(str(len(method.finished))) for method in methods]
    rows = [list(row) for row in zip(names, numbers, *columns)]
    return Table(f'Scores and cost: {group.name}', header, rows)


def _gain(method: Method, key: str, group: Group) -> Entry:
    if method.name == group.baseline:
        return Entry('0', 'by definition')
    return gain_entry(method.estimates[key])


def _state(method: Method) -> str:
    parts = dict(failed=method.failed, missing=method.missing)
    return ', '.join(f'{len(seeds)} {name}' for name, seeds in parts.items() if seeds)


def domain_table(group: Group) -> Table:
    """MAP of every method on every test set, in domain first."""
    domains = group.domains
    header = ['method'] + [f'{d} (in domain)' if d in group.in_domain else d for d in domains]
    rows = [
        [Entry(m.name)] + [estimate_entry(m.domains[d], PERCENT, len(m.finished)) for d in domains]
        for m in group.methods.values()
    ]
    return Table(f'mAP by test set, %: {group.name}', header, rows)


def correlation_table(group: Group) -> Table:
    """Correlations of RGN with the OOD gain, with their leave-one-out ranges."""
    rows = []
    for key, label in (('rgn', 'mean over training'), ('rgn_first', 'first measurement')):
        found = group.correlations[key]
        pearson = _correlation(found.pearson, found.pearson_range)
        spearman = _correlation(found.spearman, found.spearman_range)
        rows.append([Entry(f'RGN, {label}'), Entry(str(len(found.names))), pearson, spearman])
    header = ['quantity', 'methods', "Pearson's r", "Spearman's rho"]
    return Table(f'RGN and OOD gain over methods: {group.name}', header, rows)


def _correlation(value: Optional[float], span: Optional[tuple]) -> Entry:
    if value is None:
        return Entry(NONE, 'not defined')
    below = 'range not defined' if span is None else f'leaving one out: {signed(*span)}'
    return Entry(signed(value), below)


def signed(*values: float) -> str:
    """A correlation, or a range of them, with two decimals."""
    return ' to '.join(f'{value:+.2f}' for value in values).replace('-', MINUS)


def run_table(summary: Summary) -> Table:
    """Every planned run: how it ended, its own numbers, and the command that makes it again."""
    rows = []
    for run in summary.planned:
        result = summary.results.get(run)
        scores = summary.values(run, ('mAP', 'ood_mAP'))
        texts = [
            str(run),
            result.state if result else 'missing',
            *(NONE if score is None else PERCENT.text(score) for score in scores),
            result and result.finished or NONE,
            result and result.command or NONE,
        ]
        rows.append([Entry(text) for text in texts])
    header = ['run', 'state', 'mAP %', 'OOD mAP %', 'finished', 'command']
    return Table('All runs', header, rows)
