"""What the report says, in order, before it is a page or Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

from ..results import Result
from . import figures, run_figures
from .blocks import Bullets, Content, Listing, Section
from .figure_writer import FigureWriter
from .groups import RGN, Group, Summary
from .primary import primary_table
from .statistics import FEWEST_SEEDS
from .summary import BASELINE
from .tables import correlation_table, domain_table, main_table, run_table

READING = (
    'mAP, AP50 and AP75 are the scores in result.json, averaged over the test sets of the domain '
    'that was trained on; OOD: the mean of a score over all other test sets. All in percent.',
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


def compose(
    summary: Summary,
    writer: FigureWriter,
    title: str,
    command: str,
    remarks: list[str],
    progress: Mapping[str, str],
) -> Content:
    """Draws all figures and puts the report together.

    ``command`` is what makes the report, ``remarks`` what else a reader must know, e.g. that the
    plan could not be read, ``progress`` how far missing runs are, by name.
    """
    runs = summary.finished + summary.failed
    done, planned = len(summary.finished), len(summary.planned)
    status = f'{done} of {planned} runs finished'
    for name in ('failed', 'missing'):
        found = getattr(summary, name)
        status += f', {len(found)} {name}' if found else ''
    baseline = next((g.baseline for g in summary.groups if g.baseline), BASELINE)
    rgn = ' or '.join(sorted({RGN[group.rgn] for group in summary.groups}))
    reading = [text.replace('{baseline}', baseline).replace('{rgn}', rgn) for text in READING]

    times = sorted(str(r.finished) for r in runs if r.finished)
    seeds = sorted({run.seed for run in summary.planned})
    facts = [
        ('Report written', date.today().isoformat()),
        ('Runs ended', f'{times[0]} to {times[-1]}' if times else 'none yet'),
        ('Seeds', ', '.join(map(str, seeds)) or 'none'),
        ('Work dir', str(writer.work_dir)),
        *_machine_facts(runs),
    ]

    folder = f'{writer.work_dir}/runs/<dataset>/<detector>/<method>/seed<k>'
    again = ['# this report', command, '', '# what it is made from']
    again += [f'{what + ":":<13}{folder}/{file}' for what, file in SOURCES.items()]
    commands = [r.command for r in runs if r.command]
    if commands:
        again += ['', '# one run; all commands are in the table above', commands[0]]

    sections = [
        *([Section('Please note', [Bullets(remarks)])] if remarks else []),
        *(_group(group, writer) for group in summary.groups),
        Section('How to read the numbers', [Bullets(reading)]),
        Section('What failed, and what is missing', _open(summary, progress)),
        Section('All runs and their commands', [run_table(summary)], folded=True),
        Section('How to make this again', [Listing('', '\n'.join(again))]),
    ]
    return Content(title, f'{status}.', done == planned, facts, sections)


def _group(group: Group, writer: FigureWriter) -> Section:
    footnote = (
        f'In domain: {", ".join(group.in_domain) or "none"}. Out of domain: '
        f'{", ".join(group.out_of_domain) or "none"}. x ± y: mean and sample standard deviation '
        'over n seeds. Differences: mean with its 95 % t-interval, paired by seed. More under '
        '"How to read the numbers".'
    )
    blocks = [
        *primary_table(group, group.question),
        main_table(group)._replace(footnotes=(footnote,)),
        *([Bullets(group.notes, 'Holes in these numbers')] if group.notes else []),
        figures.differences(writer, group),
        figures.pareto(writer, group),
        figures.domains(writer, group),
        domain_table(group),
        figures.gain(writer, group),
        correlation_table(group),
        run_figures.curves(writer, group),
        run_figures.spectra(writer, group),
        run_figures.detections(writer, group),
    ]
    return Section(f'{group.dataset}, {group.detector}', blocks)


def _open(summary: Summary, progress: Mapping[str, str]) -> list:
    """Failed and missing runs."""
    blocks: list = [
        Listing(f'{result.name} failed', (result.error or 'no message').strip())
        for result in summary.failed
    ]
    names = [str(run) for run in summary.missing]
    names = [f'{name} ({progress[name]})' if name in progress else name for name in names]
    blocks += [Bullets(names, 'Planned, and without a result')] if names else []
    return blocks or [Bullets(['No run failed, and none is missing.'])]


def _machine_facts(runs: Sequence[Result]) -> list[tuple[str, str]]:
    """What the records say of machine and versions; where runs differ, with the number of runs."""
    found: dict[str, Counter] = {}
    for run in runs:
        for key, value in run.machine.items():
            found.setdefault(str(key), Counter())[str(value)] += 1
    facts = []
    for key, values in found.items():
        # A reader must see that numbers are of different machines.
        texts = [f'{value} ({n} of {len(runs)} runs)' for value, n in values.items()]
        everywhere = list(values.values()) == [len(runs)]
        facts.append((key, '; '.join(values if everywhere else texts)))
    return facts
