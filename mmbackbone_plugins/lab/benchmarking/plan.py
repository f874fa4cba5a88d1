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
    """One test set of a run."""

    name: str
    split: str = 'test'  # the data loader that it is, 'test' or 'val'
    config: Optional[str] = None  # the config that has the loader; None for the run's own
    options: Mapping[str, Any] = field(default_factory=dict)  # changes of that, by dotted key
    metric: Optional[Mapping[str, Any]] = None  # None: the data set's, or the benchmark's own


@dataclass(frozen=True)
class Run:
    """One training of the plan, and what it is tested on; most fields are those of ``Result``."""

    dataset: str
    detector: str
    method: str
    seed: int
    config: str
    options: Mapping[str, Any]  # changes of the config, by dotted key; the seed is none of them
    tests: tuple[Domain, ...]
    in_domain: tuple[str, ...]  # those of the domain that is trained on
    measure: Mapping[str, Mapping[str, Any]]  # arguments of hooks, by what they measure
    # What is done with the training of another method instead of one of its own, see after.py;
    # empty: it trains.
    after: Mapping[str, Any] = field(default_factory=dict)
    keep_probed: bool = False  # whether the training keeps its probed weights
    validation: tuple[str, ...] = ()  # to choose settings on; neither in the domain nor out of it

    @property
    def name(self) -> str:
        """``dataset/detector/method/seed0``; also the run's folder under ``runs``."""
        return f'{self.dataset}/{self.detector}/{self.method}/seed{self.seed}'

    @property
    def training_key(self) -> str:
        """Equal for runs with the same training, seeds apart."""
        return f'{self.config} {sorted(self.options.items(), key=str)}'


@dataclass(frozen=True)
class Step:
    """A command of a shell that makes what the runs need; not run where that is there already."""

    makes: str
    run: str


@dataclass(frozen=True)
class Choice:
    """How a setting is chosen from the trials of each method."""

    test: str  # the validation set whose scores count
    metric: str  # 'mAP', 'AP50' or 'AP75'
    file: Path  # where the settings are written
    trials: Mapping[str, Mapping[str, Mapping[str, Any]]]  # options by trial, by method


@dataclass(frozen=True)
class Plan:
    """A plan that was read and found consistent."""

    path: Path
    work_dir: Path
    prepare: tuple[Step, ...]  # what has to be made first, in order
    runs: tuple[Run, ...]  # all runs, seeds last: the first seed of everything is done first
    checks: Mapping[str, Mapping[str, str]]  # config of a data check by data set: format and folder
    choice: Optional[Choice] = None  # what is chosen from trials
    primary: Optional[Mapping[str, Any]] = None  # the question that is tested: test, metric, seeds

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
