"""Plans of benchmarks: which runs there are, and what has to be made before them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

from ...utils.files import atomic_write
from ...utils.names import nearest

MEASURES = ('cost', 'rgn', 'drift', 'eigenspectrum')


@dataclass(frozen=True)
class Domain:
    """One test set of a run.

    Attributes:
        name: Its name in tables.
        split: The data loader that it is, ``'test'`` or ``'val'``.
        config: The config that has the loader; None for the run's own.
        options: What is changed in that config for it, by dotted key.
        metric: Config of the metric; None for the data set's, or the benchmark's own.
    """

    name: str
    split: str = 'test'
    config: Optional[str] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metric: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Run:
    """One training of the plan, and what it is tested on; most fields are those of ``Result``.

    Attributes:
        options: What is changed in the config, by dotted key; the seed is not among them.
        tests: The test sets.
        in_domain: Those of the domain that is trained on.
        measure: Arguments of the hook by name of what is measured besides scores.
        after: What is done with the training of another method instead of one of its own, see
            :mod:`.after`; empty: it trains.
        keep_probed: Whether the training keeps its probed weights.
        validation: Test sets on which settings are chosen; neither in the domain nor out of it.
    """

    dataset: str
    detector: str
    method: str
    seed: int
    config: str
    options: Mapping[str, Any]
    tests: tuple[Domain, ...]
    in_domain: tuple[str, ...]
    measure: Mapping[str, Mapping[str, Any]]
    after: Mapping[str, Any] = field(default_factory=dict)
    keep_probed: bool = False
    validation: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``dataset/detector/method/seed0``; also the run's folder under ``runs``."""
        return f'{self.dataset}/{self.detector}/{self.method}/seed{self.seed}'


@dataclass(frozen=True)
class Step:
    """A command of a shell that makes what the runs need; not run where that is there already."""

    makes: str
    run: str


@dataclass(frozen=True)
class Choice:
    """How a setting is chosen from the trials of each method.

    Attributes:
        test: The validation set whose scores count.
        metric: ``'mAP'``, ``'AP50'`` or ``'AP75'``.
        file: Where the settings are written.
        trials: Names of the methods that are trials, with their options, by the method's name.
    """

    test: str
    metric: str
    file: Path
    trials: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Plan:
    """A plan that was read and found consistent.

    Attributes:
        path: The file.
        work_dir: Folder of the benchmark.
        prepare: What has to be made first, in order.
        runs: All runs, seeds last: the first seed of everything is done first.
        checks: Config of a data check by data set: format and folder.
        choice: What is chosen from the trials of the plan; None without trials.
        primary: The question that is tested: ``test``, ``metric`` and ``seeds``; None without one.
    """

    path: Path
    work_dir: Path
    prepare: tuple[Step, ...]
    runs: tuple[Run, ...]
    checks: Mapping[str, Mapping[str, str]]
    choice: Optional['Choice'] = None
    primary: Optional[Mapping[str, Any]] = None

    def keep(self) -> None:
        """Puts a copy of the file into the work dir, as ``plan.yml``."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.work_dir / 'plan.yml') as file:
            file.write(self.path.read_text(encoding='utf-8'))

    def only(self, patterns: Iterable[str], option: str = '--only') -> tuple[Run, ...]:
        """Runs whose name, or a leading part of it, matches a pattern with ``*``.

        Raises:
            ValueError: If a pattern matches none.
        """
        patterns = list(patterns)
        if not patterns:
            return self.runs
        names = [run.name for run in self.runs]
        for pattern in patterns:
            if not any(_matches(name, pattern) for name in names):
                raise ValueError(
                    f'{option} {pattern!r} matches no run of the plan{nearest(pattern, names)}; '
                    'runs are called dataset/detector/method/seed0, and * stands for anything'
                )
        return tuple(r for r in self.runs if any(_matches(r.name, p) for p in patterns))


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f'{pattern}/*')
