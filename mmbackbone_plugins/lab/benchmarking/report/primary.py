"""The one question of a study that is tested, with its correction for several methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from scipy import stats

from .blocks import Entry, Table
from .groups import Group
from .statistics import Estimate, difference
from .tables import NONE, gain_entry


@dataclass(frozen=True)
class Comparison:
    """One method against the baseline."""

    gain: Estimate  # the difference, paired by seed
    p: float  # of a two-sided t-test of the paired differences
    holm: float  # the same after Holm's correction over all methods that were compared


def compare(group: Group, question: Mapping[str, Any]) -> dict[str, Comparison]:
    """Compares the methods that have all seeds of a question with the baseline.

    Those that have fewer than ``question['seeds']`` in common with it are not part of the family.

    Source:
        Student's paired t-test; Holm, A simple sequentially rejective multiple test procedure,
        Scandinavian Journal of Statistics 6 (1979).
    """
    values = {
        name: {
            seed: result.scores.get(question['test'], {}).get(question['metric'])
            for seed, result in method.finished.items()
        }
        for name, method in group.methods.items()
    }
    base = values.pop(group.baseline or '', {})
    gains = {name: difference(found, base) for name, found in values.items()}
    gains = {name: gain for name, gain in gains.items() if gain.n >= question['seeds']}
    p = {name: _p_of(gain) for name, gain in gains.items()}
    adjusted = holm(p)
    return {name: Comparison(gain, p[name], adjusted[name]) for name, gain in gains.items()}


def _p_of(gain: Estimate) -> float:
    if not gain.sd:  # equal differences: no test, unless they are all 0
        return 0.0 if gain.mean else 1.0
    return float(stats.ttest_1samp(list(gain.values.values()), 0.0).pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: the k-th smallest of m times m - k + 1, made monotone."""
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = highest
    return adjusted


def primary_table(group: Group, question: Optional[Mapping[str, Any]]) -> list[Table]:
    """The table of the primary question; none before a method has the seeds."""
    found = compare(group, question) if question else {}
    if not found or not question:
        return []
    rows = [
        [
            Entry(name),
            Entry(str(c.gain.n)),
            gain_entry(c.gain),
            Entry(f'{c.p:.3f}'),
            Entry(f'{c.holm:.3f}'),
        ]
        for name, c in found.items()
    ]
    what = f'{question["metric"]} on {question["test"]}'
    header = ['method', 'n', f'{what}, difference to {group.baseline or NONE}', 'p', "Holm's p"]
    return [Table(f'Primary question: {what}: {group.name}', header, rows)]
