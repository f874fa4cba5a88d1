"""Means over seeds with their spread, correlations over methods, and Pareto sets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Optional

import numpy as np

LEVEL = 0.95
# Of two seeds a t-interval is 9 standard deviations wide on either side, and says nothing.
FEWEST_SEEDS = 3
FEWEST_METHODS = 4  # leaving one out of three leaves two points, whose correlation is 1 or -1


@dataclass(frozen=True)
class Estimate:
    """The mean of one quantity over seeds.

    Attributes:
        values: The finite values by seed.
        mean: Their mean; None without a value.
        sd: Sample standard deviation (n - 1); None of fewer than two values.
        low: Lower end of the 95 % t-interval of the mean; None of fewer than three values.
        high: Its upper end.
    """

    values: dict[int, float] = field(default_factory=dict)
    mean: Optional[float] = None
    sd: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, seeds as text."""
        found = asdict(self)
        found['values'] = {str(seed): value for seed, value in self.values.items()}
        return dict(n=self.n, **found)


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
    known = {seed: v for seed, v in ((s, number(x)) for s, x in values.items()) if v is not None}
    if not known:
        return Estimate()
    sample = np.array(list(known.values()))
    mean = float(sample.mean())
    if len(sample) < 2:
        return Estimate(known, mean)
    sd = float(sample.std(ddof=1))
    if len(sample) < FEWEST_SEEDS:
        return Estimate(known, mean, sd)
    half = t_quantile(len(sample) - 1) * sd / math.sqrt(len(sample))
    return Estimate(known, mean, sd, mean - half, mean + half)


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """Half the width of a two-sided t-interval in standard errors."""
    from scipy.special import stdtrit  # mmdet needs scipy, so it is there

    return float(stdtrit(freedom, 0.5 + level / 2))


def difference(values: Mapping[int, Any], baseline: Mapping[int, Any]) -> Estimate:
    """Estimate of the difference, paired by seed; seeds that one side lacks are left out."""
    pairs = {
        seed: (number(value), number(baseline.get(seed)))
        for seed, value in values.items()
        if seed in baseline
    }
    return estimate({seed: a - b for seed, (a, b) in pairs.items() if None not in (a, b)})


@dataclass(frozen=True)
class Correlation:
    """How two quantities go together over methods.

    Attributes:
        names: The methods that are in it.
        left_out: Methods that lack one of the two quantities.
        pearson: Pearson's r; None where it is not defined or there are fewer than four methods.
        spearman: The same of ranks.
        pearson_range: Smallest and largest r when any one method is left out.
        spearman_range: The same of ranks.
    """

    names: list[str]
    left_out: list[str]
    pearson: Optional[float] = None
    spearman: Optional[float] = None
    pearson_range: Optional[tuple[float, float]] = None
    spearman_range: Optional[tuple[float, float]] = None


def correlate(
    first: Mapping[str, Optional[float]], second: Mapping[str, Optional[float]]
) -> Correlation:
    """Correlates two quantities over the methods that have both.

    Args:
        first: A value by method.
        second: Another.

    Returns:
        Correlation: See there.
    """
    names = [n for n in first if number(first[n]) is not None and number(second.get(n)) is not None]
    left_out = [n for n in first if n not in names]
    if len(names) < FEWEST_METHODS:
        return Correlation(names, left_out)
    x, y = (np.array([float(values[n]) for n in names]) for values in (first, second))
    return Correlation(
        names,
        left_out,
        _pearson(x, y),
        _spearman(x, y),
        _leaving_one_out(_pearson, x, y),
        _leaving_one_out(_spearman, x, y),
    )


def _pearson(x: np.ndarray, y: np.ndarray) -> Optional[float]:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _spearman(x: np.ndarray, y: np.ndarray) -> Optional[float]:
    from scipy.stats import rankdata

    return _pearson(rankdata(x), rankdata(y))


def _leaving_one_out(
    of: Callable[[np.ndarray, np.ndarray], Optional[float]], x: np.ndarray, y: np.ndarray
) -> Optional[tuple[float, float]]:
    found = [of(np.delete(x, i), np.delete(y, i)) for i in range(len(x))]
    return None if None in found else (min(found), max(found))


def pareto_set(
    cost: Mapping[str, Optional[float]], score: Mapping[str, Optional[float]]
) -> list[str]:
    """Methods that no other beats: none costs at most as much and scores at least as high.

    One of the two must be strictly better to beat; methods without a cost or a score are left out.

    Returns:
        Names in order of cost.
    """
    points = {n: (cost[n], score.get(n)) for n in cost}
    points = {n: p for n, p in points.items() if None not in p}

    def beaten(name: str) -> bool:
        c, s = points[name]
        return any(a <= c and b >= s and (a, b) != (c, s) for a, b in points.values())

    return sorted((n for n in points if not beaten(n)), key=lambda n: points[n])


def mean_of(values: Sequence[Any]) -> Optional[float]:
    """Mean, or None if there is no value or one of them is no finite number."""
    known = [number(value) for value in values]
    return None if not known or None in known else float(np.mean(known))
