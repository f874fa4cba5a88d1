"""Lines of JSON that a resumed run goes on writing, without gaps or repeats."""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from ..utils.files import atomic_write


class JsonLines:
    """A file of measurements, one JSON object a line; made in ``before_train``.

    A fresh run writes into its own log folder. mmengine makes a new one at every start, so the
    checkpoint remembers the file of the first: a resumed run goes on in that one. Lines of
    iterations that it does again (those after its checkpoint, and of its own iteration where a line
    comes anew) are ``superseded``, and move to ``<name>.superseded``: the file has no iteration
    twice. Should it be gone, a new one is begun. ``path`` is None on other ranks than 0.
    """

    def __init__(self, runner, name: str) -> None:
        self.path: Optional[Path] = None
        self.superseded: list[dict[str, Any]] = []
        self._resumed: Optional[int] = None  # whose lines may be older than the checkpoint, or not
        if not is_main_process():
            return
        hub, info = runner.message_hub, f'mmbackbone/{name}'
        work_dir = Path(runner.work_dir)
        known = hub.get_info(info) if runner._resume else None
        if known and (work_dir / known).is_file():
            self.path = work_dir / known
            self.superseded, self._resumed = _cut(self.path, runner.iter), runner.iter
            print_log(f'{name}: goes on in {self.path}', logger='current')
        else:
            self.path = Path(runner.log_dir) / name
            if known:
                print_log(
                    f'{name}: {work_dir / known} is not there any more; a new file is begun',
                    logger='current',
                    level=logging.WARNING,
                )
        hub.update_info(info, os.path.relpath(self.path, work_dir))

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line (rank 0 only); it is on its way to the disk when this returns."""
        if self.path is None:
            return
        if line['iter'] == self._resumed:
            _cut(self.path, line['iter'] - 1)
        self._resumed = None
        _append(self.path, [line])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads such a file; a last line that a killed run has torn is left out."""
    found = []
    for text in path.read_text(encoding='utf-8').splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(text))
    return found


def _cut(path: Path, iteration: int) -> list[dict[str, Any]]:
    lines = read_lines(path)
    keep = [line for line in lines if line['iter'] <= iteration]
    again = [line for line in lines if line['iter'] > iteration]
    if again:
        _append(path.with_name(f'{path.name}.superseded'), again)
    with atomic_write(path) as file:
        file.writelines(json.dumps(line) + '\n' for line in keep)
    return again


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open('a', encoding='utf-8') as file:
        file.writelines(json.dumps(line) + '\n' for line in lines)
