"""What the report says, in order, before it is a page or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Optional, Union

from ..results import Result
from . import figures, run_figures
from .groups import RGN, Group, Summary
from .sketchbook import Figure, Sketchbook
from .statistics import FEWEST_SEEDS
from .summary import BASELINE
from .tables import Table, correlation_table, domain_table, main_table, run_table

READING = (
    'mAP, AP50 and AP75 are the scores in result.json, averaged over the test sets of the domain '
    'that was trained on; OOD mAP is the mean of mAP over all other test sets. All in percent.',
    'x ± y: mean and sample standard deviation over n seeds. It describes the seeds that were '
    'run; it is no interval. Without ±: one seed, or a deviation that rounds to 0.',
    '[a, b]: 95 % t-interval of the mean difference to {baseline}, paired by seed, from '
    f'{FEWEST_SEEDS} seeds on. It covers the randomness of seeds only, not of data, and is not '
    'corrected for the number of methods compared: of 20 methods without any effect, one is '
    'expected to have an interval that leaves out 0.',
    'Training FLOPs and time are of the whole training (steps only, without validation); "of '
    'full" is against the same steps with everything trained. Peak memory: on a GPU what '
    'is allocated there at most during a training step, on a CPU what the whole process holds. '
    'Trainable: parameters that train over all, mean over the '
    'iterations.',
    'RGN: relative gradient norm of the backbone, {rgn}, mean over training. A median over weights '
    'is of convolutions and linear layers; biases that start at zero would rule a mean, for their '
    'ratio has next to nothing below. Drift: distance of the '
    "backbone's weights to their start, over the norm of the start, at the end.",
)

SOURCES = {
    'numbers': 'result.json',
    'curves': 'train/*/vis_data/scalars.json',
    'spectra': 'train/*/eigen.jsonl',
    'detections': 'detections.json',
}


@dataclass
class Listing:
    """Text as it is: commands, messages.

    Attributes:
        title: What it is; empty for none.
        text: The text.
    """

    title: str
    text: str


@dataclass
class Bullets:
    """Sentences.

    Attributes:
        items: The sentences.
        title: What they are about; empty for none.
    """

    items: Sequence[str]
    title: str = ''


@dataclass
class Section:
    """A part of the report under a heading.

    Attributes:
        title: The heading.
        blocks: Its content.
        folded: Whether a page shows it closed.
    """

    title: str
    blocks: list[Union[Table, Figure, Listing, Bullets]] = field(default_factory=list)
    folded: bool = False


@dataclass
class Content:
    """The whole report.

    Attributes:
        title: Its title.
        status: How many runs it covers, in a sentence.
        complete: Whether that is all of them.
        facts: Name and value of what is known of the benchmark.
        sections: The rest.
    """

    title: str
    status: str
    complete: bool
    facts: list[tuple[str, str]]
    sections: list[Section]


def compose(
    summary: Summary,
    book: Sketchbook,
    title: str,
    remarks: Sequence[str] = (),
    progress: Optional[dict[str, str]] = None,
) -> Content:
    """Draws all figures and puts the report together.

    Args:
        summary: The numbers.
        book: Draws the figures.
        title: Title of the report.
        remarks: What else a reader must know, e.g. that the plan could not be read.
        progress: How far missing runs are, by name.
    """
    done, planned = len(summary.finished), len(summary.planned)
    status = f'{done} of {planned} runs finished'
    status += f', {len(summary.failed)} failed' if summary.failed else ''
    status += f', {len(summary.missing)} missing' if summary.missing else ''
    sections = [Section('Please note', [Bullets(list(remarks))])] if remarks else []
    sections += [_group(group, book) for group in summary.groups]
    sections += [_reading(summary), _open(summary, progress or {})]
    sections.append(Section('All runs and their commands', [run_table(summary)], folded=True))
    sections.append(Section('How to make this again', [_again(summary, book)]))
    return Content(title, f'{status}.', done == planned, _facts(summary, book), sections)


def _reading(summary: Summary) -> Section:
    baseline = next((g.baseline for g in summary.groups if g.baseline), BASELINE)
    rgn = ' or '.join(sorted({RGN[group.rgn] for group in summary.groups}))
    texts = [text.replace('{baseline}', baseline).replace('{rgn}', rgn) for text in READING]
    return Section('How to read the numbers', [Bullets(texts)])


def _group(group: Group, book: Sketchbook) -> Section:
    main = main_table(group)
    main.footnotes.append(
        f'In domain: {", ".join(group.in_domain) or "none"}. Out of domain: '
        f'{", ".join(group.out_of_domain) or "none"}. x ± y: mean and sample standard deviation '
        'over n seeds. Differences: mean with its 95 % t-interval, paired by seed. More under '
        '"How to read the numbers".',
    )
    blocks: list[Any] = [main]
    if group.notes:
        blocks.append(Bullets(group.notes, 'Holes in these numbers'))
    blocks += [
        figures.pareto(book, group),
        figures.domains(book, group),
        domain_table(group),
        figures.gain(book, group),
        correlation_table(group),
        run_figures.curves(book, group),
        run_figures.spectra(book, group),
        run_figures.detections(book, group),
    ]
    return Section(f'{group.dataset}, {group.detector}', blocks)


def _open(summary: Summary, progress: dict[str, str]) -> Section:
    """Failed and missing runs."""
    blocks: list[Any] = [
        Listing(f'{result.name} failed', (result.error or 'no message').strip())
        for result in summary.failed
    ]
    if summary.missing:
        names = [str(run) for run in summary.missing]
        names = [f'{name} ({progress[name]})' if name in progress else name for name in names]
        blocks.append(Bullets(names, 'Planned, and without a result'))
    if not blocks:
        blocks = [Bullets(['No run failed, and none is missing.'])]
    return Section('What failed, and what is missing', blocks)


def _facts(summary: Summary, book: Sketchbook) -> list[tuple[str, str]]:
    runs = summary.finished + summary.failed
    times = sorted(str(r.finished) for r in runs if r.finished)
    seeds = ', '.join(map(str, summary.seeds))
    facts = [
        ('Report written', date.today().isoformat()),
        ('Runs ended', f'{times[0]} to {times[-1]}' if times else 'none yet'),
        ('Seeds', seeds or 'none'),
        ('Work dir', str(book.work_dir)),
    ]
    return facts + machine_facts(runs)


def machine_facts(runs: Sequence[Result]) -> list[tuple[str, str]]:
    """What the records say of machine and versions; where runs differ, with the number of runs."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        for key, value in run.machine.items():
            values = found.setdefault(str(key), {})
            values[str(value)] = values.get(str(value), 0) + 1
    facts = []
    for key, values in found.items():
        if len(values) == 1 and sum(values.values()) == len(runs):
            text = next(iter(values))
        else:  # a reader must see that numbers are of different machines
            text = '; '.join(f'{value} ({n} of {len(runs)} runs)' for value, n in values.items())
        facts.append((key, text))
    return facts


def _again(summary: Summary, book: Sketchbook) -> Listing:
    runs = f'{book.work_dir}/runs/<dataset>/<detector>/<method>/seed<k>'
    lines = ['# this report', book.command, '', '# what it is made from']
    lines += [f'{what + ":":<13}{runs}/{file}' for what, file in SOURCES.items()]
    commands = [r.command for r in summary.finished + summary.failed if r.command]
    if commands:
        lines += ['', '# one run; all commands are in the table above', commands[0]]
    return Listing('', '\n'.join(lines))
