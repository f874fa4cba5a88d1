"""Means over seeds with their spread, correlations over methods, and Pareto sets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Optional

import numpy as np
from scipy import stats

LEVEL = 0.95
# Of two seeds a t-interval is 9 standard deviations wide on either side, and says nothing.
FEWEST_SEEDS = 3
FEWEST_METHODS = 4  # leaving one out of three leaves two points, whose correlation is 1 or -1


@dataclass(frozen=True)
class Estimate:
    """The mean of one quantity over seeds."""

    values: dict[int, float] = field(default_factory=dict)  # the finite values by seed
    mean: Optional[float] = None
    sd: Optional[float] = None  # sample standard deviation (n - 1); None of fewer than two values
    low: Optional[float] = None  # of the 95 % t-interval; None of fewer than three values
    high: Optional[float] = None  # its upper end

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, seeds as text."""
        values = {str(seed): value for seed, value in self.values.items()}
        return dict(n=self.n, **dict(asdict(self), values=values))


def number(value: Any) -> Optional[float]:
    """A finite float, or None of anything else (None, NaN, infinity, text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        return None
    return float(value) if math.isfinite(value) else None


def estimate(values: Mapping[int, Any]) -> Estimate:
    """Mean, spread and interval of values by seed; what is no finite number is left out.

    Source:
        Student's t-interval of a mean, 95 %, two-sided.
    """
    known = {s: number(x) for s, x in values.items() if number(x) is not None}
    n, sample = len(known), np.array(list(known.values()))
    mean = float(sample.mean()) if n else None
    sd = float(sample.std(ddof=1)) if n > 1 else None
    if n < FEWEST_SEEDS:
        return Estimate(known, mean, sd)
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    return Estimate(known, mean, sd, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """Half the width of a two-sided t-interval in standard errors."""
    return float(stats.t.ppf(0.5 + LEVEL / 2, freedom))


def difference(values: Mapping[int, Any], baseline: Mapping[int, Any]) -> Estimate:
    """Estimate of the difference, paired by seed; seeds that one side lacks are left out."""
    pairs = {s: (number(value), number(baseline.get(s))) for s, value in values.items()}
    return estimate({s: a - b for s, (a, b) in pairs.items() if None not in (a, b)})


@dataclass(frozen=True)
class Correlation:
    """How two quantities go together over methods."""

    names: list[str]  # the methods that are in it
    left_out: list[str]  # methods that lack one of the two quantities
    pearson: Optional[float] = None  # None where it is not defined, and of less than four methods
    spearman: Optional[float] = None  # the same of ranks
    pearson_range: Optional[tuple[float, float]] = None  # when any one method is left out
    spearman_range: Optional[tuple[float, float]] = None  # the same of ranks


def correlate(
    first: Mapping[str, Optional[float]], second: Mapping[str, Optional[float]]
) -> Correlation:
    """Correlates two quantities, each a value by method, over the methods that have both."""
    names = [n for n in first if number(first[n]) is not None and number(second.get(n)) is not None]
    left_out = [n for n in first if n not in names]
    if len(names) < FEWEST_METHODS:
        return Correlation(names, left_out)
    x, y = (np.array([float(values[n]) for n in names]) for values in (first, second))

    def coefficient(of: Callable[..., Any], keep: Any = slice(None)) -> Optional[float]:
        a, b = x[keep], y[keep]  # of values that are all alike scipy warns
        return float(of(a, b)[0]) if np.ptp(a) and np.ptp(b) else None

    values, ranges = [], []
    for of in (stats.pearsonr, stats.spearmanr):
        without = [coefficient(of, np.arange(len(x)) != i) for i in range(len(x))]
        values.append(coefficient(of))
        ranges.append(None if None in without else (min(without), max(without)))
    return Correlation(names, left_out, *values, *ranges)


def pareto_set(
    cost: Mapping[str, Optional[float]], score: Mapping[str, Optional[float]]
) -> list[str]:
    """Methods that no other beats, in order of cost: at most its cost, at least its score.

    One of the two must be strictly better to beat; methods without a cost or a score are left out.
    """
    points = {n: (c, score.get(n)) for n, c in cost.items() if None not in (c, score.get(n))}

    def beaten(point: tuple[float, float]) -> bool:
        return any(c <= point[0] and s >= point[1] and (c, s) != point for c, s in points.values())

    return sorted((n for n, point in points.items() if not beaten(point)), key=points.__getitem__)


def mean_of(values: Sequence[Any]) -> Optional[float]:
    """Mean, or None if there is no value or one of them is no finite number."""
    known = [number(value) for value in values]
    return None if not known or None in known else float(np.mean(known))
