"""What figures of the report share: files, sources, looks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ...visualization import method_styles, pyplot
from ..results import Result
from .groups import Summary

FOLDER = 'figures'


@dataclass(frozen=True)
class Picture:
    """One picture file.

    Attributes:
        file: Its path from the report's folder, with slashes.
        alt: What is to be seen, for those who cannot see it.
        label: A line below it; empty if it speaks for itself.
    """

    file: str
    alt: str
    label: str = ''


@dataclass
class Figure:
    """Pictures with one caption.

    Attributes:
        title: What they show.
        caption: How to read them; without pictures, why there are none.
        pictures: The pictures.
        columns: Pictures in a row where there is room; None: as many as fit.
        legend: A picture that explains all others.
    """

    title: str
    caption: str
    pictures: list[Picture] = field(default_factory=list)
    columns: Optional[int] = None
    legend: Optional[Picture] = None


class Sketchbook:
    """Draws the figures of a report into its folder.

    Args:
        work_dir: Folder of the benchmark.
        out: Folder of the report.
        summary: What is drawn.
        command: What makes the report.

    Attributes:
        files: Pictures drawn so far, relative to the report's folder.
    """

    def __init__(self, work_dir: Path, out: Path, summary: Summary, command: str) -> None:
        self.work_dir, self.out, self.command = Path(work_dir), Path(out), command
        baseline = next((g.baseline for g in summary.groups if g.baseline), None)
        self.styles = method_styles(summary.methods, baseline)
        self.files: list[str] = []
        self._used: set[str] = set()
        (self.out / FOLDER).mkdir(parents=True, exist_ok=True)

    # -- files -----------------------------------------------------------------------------------

    def run_folder(self, result: Result) -> Path:
        """Where a run lies now; its own record has the path of when it ran."""
        return self.work_dir / 'runs' / result.name

    def file(self, *words: str, suffix: str = '.svg') -> str:
        """A new file name from words, relative to the report's folder."""
        name = re.sub(r'[^A-Za-z0-9._-]+', '-', '-'.join(words)).strip('-.')[:90]
        plain, number = name, 2
        while name.lower() in self._used:  # two names may differ in what a file name cannot have
            name, number = f'{plain}-{number}', number + 1
        self._used.add(name.lower())
        self.files.append(f'{FOLDER}/{name}{suffix}')
        return self.files[-1]


@contextmanager
def look() -> Iterator[None]:
    """Settings under which equal figures are equal files."""
    plt = pyplot()
    settings = {
        'svg.hashsalt': 'mmbackbone_plugins',
        'figure.facecolor': 'white',
    }
    with plt.rc_context(settings):
        yield
