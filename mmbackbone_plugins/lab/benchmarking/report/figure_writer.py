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
    """Draws the figures of a report.

    Args:
        work_dir: Folder of the benchmark.
        out: Folder of the report.
        summary: What is drawn.

    Attributes:
        files: Pictures drawn so far, relative to the report's folder.
        styles: Look of every method.
    """

    def __init__(self, work_dir: Path, out: Path, summary: Summary) -> None:
        self.work_dir, self._out = work_dir, out
        baseline = next((g.baseline for g in summary.groups if g.baseline), None)
        self.styles = method_styles(summary.methods, baseline)
        self.files: list[str] = []
        self._used: set[str] = set()
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
        """Draws one picture.

        Args:
            group: What it is about; the file's name begins with it.
            words: The rest of the file's name.
            alt: What is to be seen.
            plot: Writes a picture file, which is its first argument.
            *args: Its others.
            label: A line below the picture.
            suffix: Of the file.
            **options: More arguments of ``plot``.
        """
        file = f'{FOLDER}/{self._name(group.dataset, group.detector, *words)}{suffix}'
        self.files.append(file)
        with pyplot().rc_context(_SETTINGS):
            plot(self._out / file, *args, **options)
        return Picture(file, alt, label)

    def _name(self, *words: str) -> str:
        name = re.sub(r'[^A-Za-z0-9._-]+', '-', '-'.join(words)).strip('-.')[:90]
        plain, number = name, 2
        while name.lower() in self._used:  # two names may differ in what a file name cannot have
            name, number = f'{plain}-{number}', number + 1
        self._used.add(name.lower())
        return name
