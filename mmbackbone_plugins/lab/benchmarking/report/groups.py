"""What a report knows of a benchmark: runs, by method, by data set and detector, all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from ..results import Result
from .statistics import Correlation, Estimate

# What stands for the RGN of a network.
RGN = dict(median='median over weights', mean='mean over all tensors')


class RunKey(NamedTuple):
    """Which run of a plan; the order of the fields is the order of folders."""

    dataset: str
    detector: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f'{self.dataset}/{self.detector}/{self.method}/seed{self.seed}'

    @classmethod
    def of(cls, run: Any) -> 'RunKey':
        """The key of a result, or of a run of a plan."""
        return cls(run.dataset, run.detector, run.method, run.seed)


@dataclass
class Method:
    """One method on one data set with one detector."""

    name: str
    finished: dict[int, Result] = field(default_factory=dict)  # results by seed
    failed: list[int] = field(default_factory=list)  # seeds whose run failed
    missing: list[int] = field(default_factory=list)  # seeds that were planned and have no result
    # By quantity, see QUANTITIES in summary.py; of the group's metric also `<metric>_gain` and
    # `ood_<metric>_gain`, differences to the baseline, paired by seed.
    estimates: dict[str, Estimate] = field(default_factory=dict)
    domains: dict[str, Estimate] = field(default_factory=dict)  # the metric by test set

    def mean(self, quantity: str) -> Optional[float]:
        """Mean of a quantity over seeds, or None."""
        return self.estimates[quantity].mean


@dataclass
class Group:
    """All methods on one data set with one detector: what one table shows."""

    dataset: str
    detector: str
    baseline: Optional[str] = None  # what others are compared with; None if it has no result
    methods: dict[str, Method] = field(default_factory=dict)  # by name, in the order of the plan
    in_domain: list[str] = field(default_factory=list)  # test sets of the domain of the training
    out_of_domain: list[str] = field(default_factory=list)  # all other test sets
    fronts: dict[str, list[str]] = field(default_factory=dict)  # Pareto sets, in domain and out
    # Of rgn (mean over training) and rgn_first with the OOD gain.
    correlations: dict[str, Correlation] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # on holes in the numbers
    question: Optional[Mapping[str, Any]] = None  # what is tested, see primary.py

    def __post_init__(self) -> None:
        self.name = f'{self.dataset}/{self.detector}'

    @property
    def metric(self) -> str:
        """What methods are compared by: the metric of the question, else mAP."""
        return (self.question or {}).get('metric', 'mAP')

    @property
    def scores(self) -> tuple[str, str]:
        """The quantities that it has in domain and out of it."""
        return self.metric, f'ood_{self.metric}'

    @property
    def domains(self) -> list[str]:
        """All test sets, in domain first."""
        return self.in_domain + self.out_of_domain

    def means(self, quantity: str) -> dict[str, Optional[float]]:
        """Mean of a quantity over seeds by method."""
        return {name: method.mean(quantity) for name, method in self.methods.items()}

    @property
    def rgn(self) -> str:
        """Which RGN all results have: the ``'median'``, or of older ones only the ``'mean'``."""
        found = [result.rgn for result in self.results if result.rgn]
        return 'median' if all('median' in rgn for rgn in found) else 'mean'

    @property
    def results(self) -> list[Result]:
        """The finished runs."""
        return [result for method in self.methods.values() for result in method.finished.values()]


class Summary:
    """A whole benchmark: a group per data set and detector, and runs in the order of the plan.

    ``results`` are of runs that have ended, ``finished`` and ``failed`` ones.
    """

    def __init__(
        self, groups: list[Group], planned: list[RunKey], results: dict[RunKey, Result]
    ) -> None:
        self.groups, self.planned, self.results = groups, planned, results
        self.finished = [r for r in results.values() if r.state == 'finished']
        self.failed = [r for r in results.values() if r.state != 'finished']
        self.missing = [run for run in planned if run not in results]
        self.methods = list(dict.fromkeys(name for group in groups for name in group.methods))

    def values(self, run: RunKey, quantities: Iterable[str]) -> list[Optional[float]]:
        """Quantities of one run, as they are averaged; None where there is none."""
        group = next(g for g in self.groups if (g.dataset, g.detector) == run[:2])
        estimates = group.methods[run.method].estimates
        return [estimates[name].values.get(run.seed) for name in quantities]
