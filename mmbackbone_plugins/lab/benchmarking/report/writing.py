"""From a benchmark's folder to its report."""

import csv
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from ....utils.files import atomic_write, write_json
from ..folder import TRAIN, read_progress
from ..repeats import load_repeats, repeat_text
from ..results import load_results
from .content import compose
from .figure_writer import FOLDER, FigureWriter
from .groups import RunKey, Summary
from .render import render_markdown, render_page
from .summary import BASELINE, METRICS, QUANTITIES, summarize, to_dict

PLAN = 'plan.yml'
SUMMARY = 'summary.json'
ALL_SEEDS = 'every seed of any run is expected of all methods.'


def write_report(
    work_dir: Union[str, Path],
    out: Union[str, Path, None] = None,
    title: Optional[str] = None,
    planned: Optional[Iterable[Any]] = None,
    baseline: str = BASELINE,
    question: Optional[Mapping[str, Any]] = None,
) -> Path:
    """Writes the report of a benchmark, finished or not.

    Args:
        work_dir: Folder of the benchmark.
        out: Folder of the report; default is ``<work_dir>/report``.
        title: Its title; default is made from the folder's name.
        planned: The runs that there should be, in the order of the tables; default is the plan's
            copy in the work dir; without one, every seed of any run is expected of all methods.
        baseline: The method that others are compared with.
        question: What is tested, as ``primary`` in a plan; of the plan's copy if ``planned`` is.

    Returns:
        The page. Beside it: ``report.md`` with ``figures/``, ``summary.json`` (estimates, values by
        seed) and ``runs.csv`` (a row a run), both unrounded.

    Raises:
        FileNotFoundError: If ``work_dir`` does not exist.
        ValueError: If nothing was planned or run there, or a result is of another version.
        ImportError: If matplotlib is not installed.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise FileNotFoundError(f'work_dir {str(work_dir)!r} does not exist')
    words = ['python', '-m', 'mmbackbone_plugins.lab.benchmarking.report', str(work_dir)]
    words += ['--out', str(out)] if out else []
    words += ['--title', title] if title else []
    command = shlex.join(words + (['--baseline', baseline] if baseline != BASELINE else []))
    out = work_dir / 'report' if out is None else Path(out)
    results = load_results(work_dir)
    remarks: list[str] = []
    if planned is None and (plan := _plan_of(work_dir, remarks)):
        planned, question = plan.runs, plan.primary
    keys = None if planned is None else [RunKey.of(run) for run in planned]
    summary = summarize(results, keys, baseline, question)
    if not summary.planned:
        raise ValueError(
            f'nothing to report: {str(work_dir)!r} has neither {PLAN} nor '
            'runs/<dataset>/<detector>/<method>/seed<k>/result.json'
        )
    out.mkdir(parents=True, exist_ok=True)
    title = title or f'Benchmark {work_dir.resolve().name}'
    writer = FigureWriter(work_dir, out, summary)
    progress = _progress(work_dir, summary.missing)
    repeats = load_repeats(work_dir)
    content = compose(summary, writer, title, command, remarks, progress)
    content.facts.extend(('Repeated', repeat_text(repeat)) for repeat in repeats)
    _remove_old_figures(out, writer.files)
    everything = dict(title=title, command=command, figures=writer.files, **to_dict(summary))
    everything['repeats'] = repeats
    write_json(out / SUMMARY, everything)
    with atomic_write(out / 'runs.csv') as file:
        _write_runs(file, summary)
    with atomic_write(out / 'report.md') as file:
        file.write(render_markdown(content))
    page = out / 'report.html'
    with atomic_write(page) as file:
        file.write(render_page(content, out))
    return page


def _plan_of(work_dir: Path, remarks: list[str]) -> Any:
    path = work_dir / PLAN
    if not path.is_file():
        remarks.append(f'There is no {PLAN} in the work dir: {ALL_SEEDS}')
        return None
    from ..plan_file import read_plan

    try:
        return read_plan(path)
    except (ValueError, OSError) as error:
        remarks.append(f'The plan could not be read from here ({error}): {ALL_SEEDS}')
        return None


def _remove_old_figures(out: Path, files: Sequence[str]) -> None:
    """Removes pictures of an earlier report here that this one has not; nobody else's."""
    try:
        old = json.loads((out / SUMMARY).read_text(encoding='utf-8'))['figures']
        names = {Path(str(file)).name for file in old} - {Path(file).name for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in names:
        (out / FOLDER / name).unlink(missing_ok=True)


def _progress(work_dir: Path, missing: Iterable[RunKey]) -> dict[str, str]:
    """How far runs without a result are."""
    found = {}
    for run in missing:
        folder = work_dir / 'runs' / str(run)
        done = read_progress(folder)
        if done or (folder / TRAIN).is_dir():
            found[str(run)] = f'{done:.0%} trained' if done else 'begun'
    return found


def _write_runs(file: Any, summary: Summary) -> None:
    """A row a run: every quantity and every score, unrounded; empty where there is none."""
    domains = dict.fromkeys(d for group in summary.groups for d in group.domains)
    scores = [(domain, metric) for domain in domains for metric in METRICS]
    header = [*RunKey._fields, 'state', 'finished', *QUANTITIES, *map('/'.join, scores)]
    rows = csv.DictWriter(file, header, restval='', lineterminator='\n')
    rows.writeheader()
    for run in summary.planned:
        result = summary.results.get(run)
        row = dict(run._asdict(), state=result.state if result else 'missing')
        row['finished'] = result and result.finished
        if result and result.state == 'finished':
            row.update(zip(QUANTITIES, summary.values(run, QUANTITIES)))
            row.update({f'{d}/{m}': result.scores.get(d, {}).get(m) for d, m in scores})
        rows.writerow(row)
