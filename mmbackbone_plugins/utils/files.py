"""Files that appear at one go, and names for what is in them."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path, mode: str = 'w') -> Iterator[IO[Any]]:
    """Opens a file that takes its name when it is complete; ``'w'`` is UTF-8 text, ``'wb'`` bytes.

    Whatever interrupts the writing (a kill, a full disk), readers see the old file or none, and
    no half of a new one is left unless the process was killed.
    """
    path = Path(path)
    draft = path.with_name(f'{path.name}.{os.getpid()}.new')
    try:
        with draft.open(mode, encoding=None if 'b' in mode else 'utf-8') as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, content: Any, indent: int = 1) -> None:
    """Writes JSON, whole or not at all; the folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=indent) + '\n')


def hash_of(value: Any) -> str:
    """A hash of a nested structure of plain values, of 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
