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


PERCENT = Unit('%', 0.01)
_UNITS = dict(
    plain=[Unit('', 1, None), Unit('×\u00a010⁻³', 1e-3, None), Unit('×\u00a010⁻⁶', 1e-6, None)],
    flops=[Unit(f'{p}FLOPs', s, None) for p, s in zip('EPTGM', (1e18, 1e15, 1e12, 1e9, 1e6))],
    seconds=[Unit('h', 3600, 2), Unit('min', 60), Unit('s', 1)],
    bytes=[Unit('GiB', 2**30, 2), Unit('MiB', 2**20, 0), Unit('KiB', 2**10, 0)],
    percent=[PERCENT],
)


def unit_for(kind: str, values: Iterable[Optional[float]]) -> Unit:
    """One unit for a whole column, by its largest number, so that its entries compare."""
    choice = _UNITS[kind]
    top = max((v for v in values if v is not None), default=0)
    # Plain numbers keep their size down to 0.1: 0.5 is easier than 500 times 0.001.
    least = 0.1 if kind == 'plain' else 1
    fitting = [unit for unit in choice if top >= least * unit.size]
    return fitting[0] if fitting else choice[-1 if top else 0]


def estimate_entry(found: Estimate, unit: Unit, n: Optional[int] = None) -> Entry:
    """Mean and standard deviation; says the number of seeds where it is not ``n``."""
    if found.mean is None:
        return Entry(NONE)
    text, below = unit.text(found.mean), f'n = {found.n}'
    spread = f'{(found.sd or 0) / unit.size:.{unit.places(found.mean)}f}'
    if float(spread):  # what rounds to 0 is not shown
        text += f' ± {spread}'
    return Entry(text, below if n is not None and found.n != n else '')


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
    ('{metric}_gain', '{metric}, difference to {baseline}', 'gain'),
    ('ood_{metric}', 'OOD {metric}', 'percent'),
    ('ood_{metric}_gain', 'OOD {metric}, difference to {baseline}', 'gain'),
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
    methods = list(group.methods.values())
    header = ['method', 'n']
    rows = [[Entry(m.name, _state(m)), Entry(str(len(m.finished)))] for m in methods]
    for key, heading, kind in COLUMNS:
        words = dict(metric=group.metric, baseline=group.baseline or 'the baseline')
        key, heading = key.format(**words), heading.format(**words)
        unit = None if kind == 'gain' else unit_for(kind, group.means(key).values())
        header.append(f'{heading} {unit.name}'.strip() if unit else heading)
        for row, method in zip(rows, methods):
            found = method.estimates[key]
            if unit:
                row.append(estimate_entry(found, unit, len(method.finished)))
            elif method.name == group.baseline:
                row.append(Entry('0', 'by definition'))
            else:
                row.append(gain_entry(found))
    return Table(f'Scores and cost: {group.name}', header, rows)


def _state(method: Method) -> str:
    parts = dict(failed=method.failed, missing=method.missing)
    return ', '.join(f'{len(seeds)} {name}' for name, seeds in parts.items() if seeds)


def domain_table(group: Group) -> Table:
    """Scores of every method on every test set, in domain first."""
    domains = group.domains
    header = ['method'] + [f'{d} (in domain)' if d in group.in_domain else d for d in domains]
    rows = [
        [Entry(m.name)] + [estimate_entry(m.domains[d], PERCENT, len(m.finished)) for d in domains]
        for m in group.methods.values()
    ]
    return Table(f'{group.metric} by test set, %: {group.name}', header, rows)


def correlation_table(group: Group) -> Table:
    """Correlations of RGN with the OOD gain, with their leave-one-out ranges."""
    rows = []
    for key, label in (('rgn', 'mean over training'), ('rgn_first', 'first measurement')):
        found = group.correlations[key]
        row = [Entry(f'RGN, {label}'), Entry(str(len(found.names)))]
        for value, span in (
            (found.pearson, found.pearson_range),
            (found.spearman, found.spearman_range),
        ):
            below = f'leaving one out: {signed(*span)}' if span else 'range not defined'
            known = value is not None
            row.append(Entry(signed(value), below) if known else Entry(NONE, 'not defined'))
        rows.append(row)
    header = ['quantity', 'methods', "Pearson's r", "Spearman's rho"]
    return Table(f'RGN and OOD gain over methods: {group.name}', header, rows)


def signed(*values: float) -> str:
    """A correlation, or a range of them, with two decimals."""
    return ' to '.join(f'{value:+.2f}' for value in values).replace('-', MINUS)


def run_table(summary: Summary) -> Table:
    """Every planned run: how it ended, its own numbers, and the command that makes it again."""
    rows, group = [], summary.groups[0]  # all groups have one question
    for run in summary.planned:
        result = summary.results.get(run)
        scores = summary.values(run, group.scores)
        texts = [
            str(run),
            result.state if result else 'missing',
            *(NONE if score is None else PERCENT.text(score) for score in scores),
            result and result.finished or NONE,
            result and result.command or NONE,
        ]
        rows.append([Entry(text) for text in texts])
    header = ['run', 'state', f'{group.metric} %', f'OOD {group.metric} %', 'finished', 'command']
    return Table('All runs', header, rows)
