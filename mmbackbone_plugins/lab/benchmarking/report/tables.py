"""Numbers as cells: what a table of the report says, whatever it is written in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple, Optional

from .groups import Group, Method, Summary, run_of
from .statistics import Estimate
from .summary import QUANTITIES

NONE = '-'
MINUS = '\u2212'


class Cell(NamedTuple):
    """What stands in a cell.

    Attributes:
        text: The number with its spread.
        below: A second, smaller line: an interval, or a number of seeds that differs.
        key: Name of the column.
        value: The mean behind the text, unrounded, to sort by.
    """

    text: str
    below: str = ''
    key: str = ''
    value: Optional[float] = None


@dataclass
class Table:
    """A table.

    Attributes:
        title: What it shows.
        header: Text of each column.
        rows: Cells; the first of a row is its name.
        footnotes: Below the table: what numbers mean, which runs they are from.
    """

    title: str
    header: list[str]
    rows: list[list[Cell]]
    footnotes: list[str] = field(default_factory=list)


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
PLAIN = Unit('', 1, None)
_PLAIN = [PLAIN, Unit('×\u00a010⁻³', 1e-3, None), Unit('×\u00a010⁻⁶', 1e-6, None)]
_FLOPS = [Unit(f'{p}FLOPs', s, None) for p, s in zip('EPTGM', (1e18, 1e15, 1e12, 1e9, 1e6))]
_SECONDS = [Unit('h', 3600, 2), Unit('min', 60), Unit('s', 1)]
_BYTES = [Unit('GiB', 2**30, 2), Unit('MiB', 2**20, 0), Unit('KiB', 2**10, 0)]


def unit_for(kind: str, values: Sequence[Optional[float]]) -> Unit:
    """One unit for a whole column, by its largest number, so that its cells compare.

    Args:
        kind: ``'percent'``, ``'flops'``, ``'seconds'``, ``'bytes'`` or ``'plain'``.
        values: The numbers of the column.
    """
    choice = dict(flops=_FLOPS, seconds=_SECONDS, bytes=_BYTES, plain=_PLAIN).get(kind)
    top = max((v for v in values if v is not None), default=0)
    if choice is None or not top:
        return PERCENT if choice is None else choice[0]
    # Plain numbers keep their size down to 0.1: 0.5 is easier than 500 times 0.001.
    least = 0.1 if kind == 'plain' else 1
    return next((unit for unit in choice if top >= least * unit.size), choice[-1])


def estimate_cell(key: str, found: Estimate, unit: Unit, n: Optional[int] = None) -> Cell:
    """Mean and standard deviation; says the number of seeds where it is not ``n``."""
    if found.mean is None:
        return Cell(NONE, key=key)
    text = unit.text(found.mean)
    spread = '' if found.sd is None else unit.spread(found.mean, found.sd)
    text += f' ± {spread}' if spread else ''
    below = f'n = {found.n}' if n is not None and found.n != n else ''
    return Cell(text, below, key, found.mean)


def gain_cell(key: str, found: Estimate, unit: Unit = PERCENT) -> Cell:
    """Mean of a difference with its sign, and the interval where there is one."""
    if found.mean is None:
        return Cell(NONE, key=key)
    if found.low is None or found.high is None:
        return Cell(unit.text(found.mean, True), 'no interval', key, found.mean)
    interval = f'[{unit.text(found.low, True)}, {unit.text(found.high, True)}]'
    return Cell(unit.text(found.mean, True), interval, key, found.mean)


class Column(NamedTuple):
    """A column of the main table: the quantity, its heading and kind."""

    key: str
    heading: str
    kind: str


# What the main table shows, in this order. Quantities are those of summary.QUANTITIES.
COLUMNS = (
    Column('mAP', 'mAP', 'percent'),
    Column('AP50', 'AP50', 'percent'),
    Column('AP75', 'AP75', 'percent'),
    Column('mAP_gain', 'mAP, difference to {baseline}', 'gain'),
    Column('ood_mAP', 'OOD mAP', 'percent'),
    Column('ood_mAP_gain', 'OOD mAP, difference to {baseline}', 'gain'),
    Column('flops', 'training', 'flops'),
    Column('share_of_full', 'of full', 'percent'),
    Column('seconds', 'time', 'seconds'),
    Column('peak_memory', 'peak memory', 'bytes'),
    Column('trainable_share', 'trainable', 'percent'),
    Column('rgn', 'RGN', 'plain'),
    Column('drift', 'drift', 'plain'),
)


def main_table(group: Group) -> Table:
    """The table of a data set and a detector: a row a method."""
    header, builders = ['method', 'n'], []
    for column in COLUMNS:
        unit = unit_for(column.kind, [m.mean(column.key) for m in group.methods.values()])
        builders.append(_builder(column, unit, group))
        heading = column.heading.format(baseline=group.baseline or 'the baseline')
        name = '' if column.kind == 'gain' else unit.name
        header.append(f'{heading} {name}'.strip())
    rows = []
    for method in group.methods.values():
        n = len(method.finished)
        rows.append(
            [Cell(method.name, _state(method), 'method'), Cell(str(n), '', 'n', float(n))]
            + [build(method) for build in builders]
        )
    return Table(f'Scores and cost: {group.name}', header, rows)


def _builder(column: Column, unit: Unit, group: Group) -> Callable[[Method], Cell]:
    def build(method: Method) -> Cell:
        found = method.estimates[column.key]
        if column.kind != 'gain':
            return estimate_cell(column.key, found, unit, len(method.finished))
        if method.name == group.baseline:
            return Cell('0', 'by definition', column.key, 0.0)
        return gain_cell(column.key, found)

    return build


def _state(method: Method) -> str:
    parts = [f'{len(method.failed)} failed'] if method.failed else []
    parts += [f'{len(method.missing)} missing'] if method.missing else []
    return ', '.join(parts)


def domain_table(group: Group) -> Table:
    """MAP of every method on every test set, in domain first."""
    domains = group.in_domain + group.out_of_domain
    header = ['method'] + [f'{d} (in domain)' if d in group.in_domain else d for d in domains]
    rows = [
        [Cell(method.name, '', 'method')]
        + [
            estimate_cell(d, method.domains.get(d, Estimate()), PERCENT, len(method.finished))
            for d in domains
        ]
        for method in group.methods.values()
    ]
    return Table(f'mAP by test set, %: {group.name}', header, rows)


def correlation_table(group: Group) -> Table:
    """Correlations of RGN with the OOD gain, with their leave-one-out ranges."""
    rows = []
    for key, label in (('rgn', 'mean over training'), ('rgn_first', 'first measurement')):
        found = group.correlations[key]
        rows.append(
            [
                Cell(f'RGN, {label}', '', 'quantity'),
                Cell(str(len(found.names)), '', 'methods', float(len(found.names))),
            ]
            + [
                _correlation_cell(name, getattr(found, name), getattr(found, f'{name}_range'))
                for name in ('pearson', 'spearman')
            ]
        )
    return Table(
        f'RGN and OOD gain over methods: {group.name}',
        ['quantity', 'methods', "Pearson's r", "Spearman's rho"],
        rows,
    )


def _correlation_cell(key: str, value: Optional[float], span: Optional[tuple]) -> Cell:
    if value is None:
        return Cell(NONE, 'not defined', key)
    below = 'range not defined' if span is None else f'leaving one out: {range_text(span)}'
    return Cell(signed(value), below, key, value)


def signed(value: float) -> str:
    """A correlation with two decimals."""
    return f'{value:+.2f}'.replace('-', MINUS)


def range_text(span: Sequence[float]) -> str:
    """A range of correlations."""
    return f'{signed(span[0])} to {signed(span[1])}'


def run_table(summary: Summary) -> Table:
    """Every planned run: how it ended, its own numbers, and the command that makes it again."""
    groups = {(group.dataset, group.detector): group for group in summary.groups}
    by_run = {run_of(r): r for r in summary.finished + summary.failed}
    rows = []
    for run in summary.planned:
        result = by_run.get(run)
        cells = [Cell(str(run), '', 'run')]
        if result is None:
            cells += [Cell('missing', '', 'state')] + [Cell(NONE)] * 4
        else:
            group = groups[run[:2]]
            values = {name: QUANTITIES[name](result, group) for name in ('mAP', 'ood_mAP')}
            failed = result.state != 'finished'
            cells.append(Cell(result.state, '', 'state'))
            cells += [
                Cell(NONE if failed or v is None else PERCENT.text(v), '', name, v)
                for name, v in values.items()
            ]
            cells.append(Cell(result.finished or NONE, '', 'finished'))
            cells.append(Cell(result.command or NONE, '', 'command'))
        rows.append(cells)
    header = ['run', 'state', 'mAP %', 'OOD mAP %', 'finished', 'command']
    return Table('All runs', header, rows)
