"""Performance under corruption, from a table of scores."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from .corruptions import BENCHMARK, SEVERITIES


class RobustnessScores(NamedTuple):
    """What :func:`robustness_scores` finds."""

    clean: float  # score on untouched pictures
    mpc: float  # mean performance under corruption: mean over corruptions of mean over severities
    rpc: float  # relative performance under corruption, mpc / clean; NaN where clean is 0
    by_corruption: dict[str, float]  # mean over severities


def robustness_scores(
    clean: float,
    scores: Mapping[str, Mapping[int, float]],
    corruptions: Sequence[str] = BENCHMARK,
    severities: Sequence[int] = SEVERITIES,
) -> RobustnessScores:
    """MPC and rPC of Michaelis et al. (arXiv 1907.07484, section 3.2, equations 1 and 2).

    Args:
        clean: Score on untouched pictures; more is better.
        scores: Score by corruption and severity, as ``scores['fog'][3]``.
        corruptions: Those in the mean; the names mPC and rPC mean the benchmark's 15.
        severities: Those in the mean.

    Raises:
        ValueError: If a cell of the table is missing or no finite number; the message names all.

    Examples:
        >>> from mmbackbone_plugins.metrics import robustness_scores
        >>> table = {'fog': {1: 0.75, 3: 0.25}}
        >>> scores = robustness_scores(1.0, table, corruptions=['fog'], severities=[1, 3])
        >>> scores.mpc, scores.rpc
        (0.5, 0.5)
    """
    missing = [
        f'{name} {severity}'
        for name in corruptions
        for severity in severities
        if not _is_number(scores.get(name, {}).get(severity))
    ]
    if not _is_number(clean):
        missing.insert(0, 'clean')
    if missing or not corruptions or not severities:
        raise ValueError(
            'scores must have a finite number for every corruption and severity; missing: '
            + (', '.join(missing) or 'all')
        )
    means = {name: fmean(scores[name][s] for s in severities) for name in corruptions}
    mpc = fmean(means.values())
    return RobustnessScores(float(clean), mpc, mpc / clean if clean else math.nan, means)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
