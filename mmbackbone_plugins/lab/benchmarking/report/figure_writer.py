"""Writes the pictures of a report into its folder."""

import re
from pathlib import Path
from typing import Any, Callable

from ...visualization import method_styles, pyplot
from ..results import Result
from .blocks import Picture
from .groups import Group, Summary

FOLDER = 'figures'
# With these, equal figures are equal files.
_SETTINGS = {'svg.hashsalt': 'mmbackbone_plugins', 'figure.facecolor': 'white'}


class FigureWriter:
    """Draws the figures of a report; ``files`` are those drawn, ``styles`` the look of methods."""

    def __init__(self, work_dir: Path, out: Path, summary: Summary) -> None:
        self.work_dir, self._out = work_dir, out
        baseline = next((g.baseline for g in summary.groups if g.baseline), None)
        self.styles = method_styles(summary.methods, baseline)
        self.files: list[str] = []
        (out / FOLDER).mkdir(parents=True, exist_ok=True)

    def run_folder(self, result: Result) -> Path:
        """Where a run lies now; its own record has the path of when it ran."""
        return self.work_dir / 'runs' / result.name

    def draw(
        self,
        group: Group,
        words: tuple[str, ...],
        alt: str,
        plot: Callable[..., None],
        *args: Any,
        label: str = '',
        suffix: str = '.svg',
        **options: Any,
    ) -> Picture:
        """Draws one picture: ``plot(path, *args, **options)``.

        Its file's name is made of the group's and ``words``; see :class:`Picture` for the others.
        """
        words = (group.dataset, group.detector, *words)
        name = re.sub(r'[^A-Za-z0-9._-]+', '-', '-'.join(words)).strip('-.')[:90]
        used = {Path(file).stem.lower() for file in self.files}
        plain, number = name, 2
        while name.lower() in used:  # two names may differ in what a file name cannot have
            name, number = f'{plain}-{number}', number + 1
        file = f'{FOLDER}/{name}{suffix}'
        self.files.append(file)
        with pyplot().rc_context(_SETTINGS):
            plot(self._out / file, *args, **options)
        return Picture(file, alt, label)
