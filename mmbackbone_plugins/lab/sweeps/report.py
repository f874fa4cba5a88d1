"""Scores of a sweep over corruptions, as text and as figures for a file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ...metrics.corruptions import BENCHMARK, GROUPS, SEVERITIES
from ...metrics.scores import RobustnessScores, robustness_scores
from ...utils.text import table
from .evaluate import is_precision, json_numbers

CLEAN = 'clean'
Scores = Mapping[str, Mapping[str, float]]  # by cell and name


def cell_name(corruption: str, severity: int) -> str:
    """Name of a cell."""
    return f'{corruption}_{severity}'


def grid(
    scores: Scores, name: str, corruptions: Sequence[str], severities: Sequence[int]
) -> dict[str, dict[int, float]]:
    """One score by corruption and severity, of the cells that are there."""
    return {
        c: {
            s: scores[cell_name(c, s)][name]
            for s in severities
            if name in scores.get(cell_name(c, s), {})
        }
        for c in corruptions
    }


def summarise(
    scores: Scores, name: str, corruptions: Sequence[str], severities: Sequence[int]
) -> Optional[RobustnessScores]:
    """MPC and rPC of one score; None where a cell is missing or has no number."""
    clean = scores.get(CLEAN, {}).get(name, math.nan)
    try:
        return robustness_scores(
            clean, grid(scores, name, corruptions, severities), corruptions, severities
        )
    except ValueError:
        return None


def is_benchmark(corruptions: Sequence[str], severities: Sequence[int]) -> bool:
    """Whether means over these are the mPC and rPC that papers report."""
    return set(corruptions) == set(BENCHMARK) and set(severities) == set(SEVERITIES)


def text(
    scores: Scores,
    name: str,
    corruptions: Sequence[str],
    severities: Sequence[int],
    test_sets: Sequence[str] = (),
) -> str:
    """A table of one score: a row for each corruption, one for each group, and the means."""
    found = grid(scores, name, corruptions, severities)
    clean = scores.get(CLEAN, {}).get(name, math.nan)
    lines = [f'{name} x 100; clean: {_number(clean)}']
    rows = [['corruption', *map(str, severities), 'mean', 'of clean']]
    for corruption in corruptions:
        rows.append(_row(corruption, [found[corruption]], severities, clean))
    groups = [(g, [c for c in names if c in found]) for g, names in GROUPS.items()]
    for group, names in groups:
        if len(names) > 1:
            rows.append(_row(f'all {group}', [found[c] for c in names], severities, clean))
    rows.append(_row('all', list(found.values()), severities, clean))
    lines.append(table(rows))
    whole = summarise(scores, name, corruptions, severities)
    if whole is None:
        lines.append('no mPC and rPC: cells are missing, or have no number (-)')
    else:
        lines.append(f'mPC {_number(whole.mpc)}, rPC {_number(whole.rpc)} %')
        if not is_benchmark(corruptions, severities):
            lines.append('(of the corruptions and severities above; not the benchmark of 15 x 5)')
    if test_sets:
        rows = [['test set', 'score', 'of clean']]
        for one in test_sets:
            value = scores.get(one, {}).get(name, math.nan)
            rows.append([one, _number(value), _share(value, clean)])
        lines += ['', table(rows)]
    return '\n'.join(lines)


def figures(
    scores: Scores,
    name: str,
    corruptions: Sequence[str],
    severities: Sequence[int],
    test_sets: Sequence[str] = (),
) -> dict[str, Any]:
    """All numbers, ready for JSON: NaN is null."""
    every: dict[str, Any] = {}
    for one in filter(is_precision, scores.get(CLEAN, {})):
        whole = summarise(scores, one, corruptions, severities)
        if whole is not None:
            means = json_numbers(dict(clean=whole.clean, mpc=whole.mpc, rpc=whole.rpc))
            every[one] = dict(means, by_corruption=whole.by_corruption)
    return dict(
        score=name,
        benchmark=is_benchmark(corruptions, severities),
        corruptions=list(corruptions),
        severities=list(severities),
        **{key: every.get(name, {}).get(key) for key in ('clean', 'mpc', 'rpc')},
        summary=every,
        test_sets=list(test_sets),
        cells={cell: json_numbers(found) for cell, found in scores.items()},
    )


def _row(
    name: str, rows: Sequence[Mapping[int, float]], severities: Sequence[int], clean: float
) -> list[str]:
    columns = [_mean([row.get(s, math.nan) for row in rows]) for s in severities]
    mean = _mean(columns)
    return [name, *map(_number, columns), _number(mean), _share(mean, clean)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _number(value: float) -> str:
    return f'{100 * value:.1f}' if math.isfinite(value) else '-'


def _share(value: float, clean: float) -> str:
    return f'{value / clean:.1%}' if clean and math.isfinite(value / clean) else '-'
