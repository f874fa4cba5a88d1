"""The detectors between two checkpoints: made, scored on test sets, and one of them chosen."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch

from ...distortion import interpolate
from ...utils import checkpoints
from ...utils.files import atomic_write, hash_of
from ...utils.text import duration_text, table
from .sweep import Cell, Sweep, file_hash
from .test_sets import Groups

Scores = dict[str, dict[str, float]]  # by cell, then by name


@dataclass
class Ends:
    """Two checkpoints of one detector; ``target`` and ``extrapolate`` are those of ``interpolate``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file cannot be read, or the two are not of one architecture.
    """

    start: str
    end: str
    target: str = ''
    extrapolate: bool = False

    def __post_init__(self) -> None:
        whole = checkpoints.read(self.end)
        self._meta = whole.get('meta') if isinstance(whole.get('meta'), Mapping) else {}
        self._end = checkpoints.weights_of(whole, self.end)
        self._start = checkpoints.weights_of(checkpoints.read(self.start), self.start)
        self.hashes = file_hash(self.start), file_hash(self.end)
        self.state(1.0)

    def state(self, weight: float) -> dict[str, torch.Tensor]:
        """The weights at a place; see :func:`~mmbackbone_plugins.interpolate`."""
        return interpolate(self._start, self._end, weight, self.target, self.extrapolate)

    def save(self, weight: float, path: Path) -> None:
        """Writes a checkpoint that ``tools/test.py`` takes; it says what it was made of."""
        made_of = dict(start=self.start, end=self.end, weight=weight, target=self.target)
        made_of.update(zip(('start_sha256', 'end_sha256'), self.hashes))
        content = dict(meta={**self._meta, 'interpolation': made_of}, state_dict=self.state(weight))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, 'wb') as file:
            torch.save(content, file)


@dataclass
class _Place(Sweep):
    """One place: its checkpoint is made when a test set is missing, and taken away again."""

    ends: Optional[Ends] = None
    weight: float = 0.0

    def __post_init__(self) -> None:
        assert self.ends is not None
        self.weights = hash_of([*self.ends.hashes, self.ends.target, self.weight])

    def run(self, cells: Sequence[Cell]) -> tuple[Scores, dict[str, str]]:
        try:
            if len(self.known(cells)) < len(cells):
                assert self.ends is not None
                self.ends.save(self.weight, Path(self.checkpoint))
            return super().run(cells)
        finally:
            Path(self.checkpoint).unlink(missing_ok=True)


@dataclass
class Line:
    """Scores the detectors at several places between two checkpoints.

    ``options`` are those of :class:`Sweep` without its checkpoint; each place gets a folder.
    """

    ends: Ends
    options: dict[str, Any] = field(default_factory=dict)

    def _place(self, weight: float) -> _Place:
        folder = Path(self.options['folder']) / f'w{weight:g}'
        rest = {**self.options, 'folder': folder}
        checkpoint = str(folder / 'weights.pth')
        return _Place(**rest, checkpoint=checkpoint, ends=self.ends, weight=weight)

    def check(self, weights: Sequence[float], cells: Sequence[Cell]) -> None:
        """Refuses (ValueError) what :meth:`run` would refuse, before anything is computed."""
        for weight in weights:
            self._place(weight).known(cells)
            self.ends.state(weight)

    def run(
        self, weights: Sequence[float], cells: Sequence[Cell]
    ) -> tuple[dict[float, Scores], dict[str, str]]:
        """Computes what is missing: scores by place, and errors by place and cell."""
        found, failed, start = {}, {}, time.monotonic()
        say = self.options.get('say', print)
        for number, weight in enumerate(weights):
            left = (time.monotonic() - start) / max(number, 1) * (len(weights) - number)
            say(f'weight {weight:g} ({number + 1} of {len(weights)}){_left(number, left)}')
            found[weight], errors = self._place(weight).run(cells)
            failed.update({f'w{weight:g}/{name}': why for name, why in errors.items()})
        return found, failed


def choose(scores: Mapping[float, Scores], cell: str, name: str) -> float:
    """The place with the best score on a validation set; of equal ones that nearest the start.

    Raises:
        ValueError: If no place has that score.
    """
    there = {w: s[cell][name] for w, s in scores.items() if name in s.get(cell, {})}
    there = {w: value for w, value in there.items() if not math.isnan(value)}
    if not there:
        raise ValueError(f'no place between the ends has the score {name!r} on {cell}')
    best = max(there.values())
    return min((w for w, value in there.items() if value == best), key=abs)


def columns(scores: Mapping[float, Scores], groups: Groups, name: str) -> dict[str, dict]:
    """Mean score of each group of test sets by place; NaN where one is missing."""

    def mean(found: Scores, cells: Sequence[Cell]) -> float:
        values = [found.get(cell.name, {}).get(name, math.nan) for cell in cells]
        return math.fsum(values) / len(values)

    return {
        group: {weight: mean(found, cells) for weight, found in scores.items()}
        for group, cells in groups.items()
    }


def text(found: Mapping[str, Mapping[float, float]], chosen: Optional[float] = None) -> str:
    """A row a place, a column a group of test sets; the chosen place has a star."""
    places = list(next(iter(found.values())))
    rows = [['weight', *found]]
    for place in places:
        mark = ' *' if place == chosen else ''
        rows.append([f'{place:g}{mark}', *(_shown(row[place]) for row in found.values())])
    return table(rows)


def given_up(found: Mapping[str, Mapping[float, float]], chosen: float) -> list[str]:
    """What another place would have given on each group of test sets, in words."""
    lines = []
    for group, row in found.items():
        there = {w: v for w, v in row.items() if not math.isnan(v)}
        if chosen not in there:
            continue
        best = max(there, key=lambda w: (there[w], w == chosen))
        gap = 100 * (there[best] - there[chosen])
        line = f'{group}: {_shown(there[chosen])} at {chosen:g}, '
        line += f'gives up {gap:.1f} of {_shown(there[best])} at {best:g}' if gap else 'the best'
        if 1.0 in there:
            line += f'; {100 * (there[chosen] - there[1.0]):+.1f} against the end'
        lines.append(line)
    return lines


def _shown(value: float) -> str:
    return '-' if math.isnan(value) else f'{100 * value:.1f}'


def _left(number: int, seconds: float) -> str:
    return f'; about {duration_text(seconds)} left' if number else ''
