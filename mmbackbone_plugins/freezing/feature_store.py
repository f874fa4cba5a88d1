"""Features of images, kept in memory or in files, for a backbone that does not change."""

import os
import pickle
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..utils.files import atomic_write

_MAGIC = b'mmbf0001'
_HEAD = struct.Struct('<8sIQ')  # magic, checksum of all behind it, length of the header
_SUMMED = struct.calcsize('<8sI')  # bytes: where that begins
_ALIGNED = 64  # bytes: where maps begin, so that they can be read in place
_STALE = 3600  # seconds after which a draft was left by a process that was killed

Key = tuple[int, int]  # place in the data set, and number of the view


@dataclass(frozen=True)
class Level:
    """One output of a backbone for one image, of a map that is kept or that nobody reads."""

    shape: tuple[int, ...]
    dtype: torch.dtype  # that it was computed in
    map: Optional[Tensor]  # None: nobody reads it

    def tensor(self) -> Tensor:
        """The map in its type; zeros, which take no memory, for one that nobody reads."""
        if self.map is None:
            return torch.zeros((), dtype=self.dtype).expand(self.shape)
        return self.map.to(self.dtype)


@dataclass(frozen=True)
class Record:
    """What one view of one image needs in a training step."""

    image: tuple[tuple[int, ...], torch.dtype]  # shape and type of the loaded image
    sample: bytes  # its data sample, pickled: a step may write into what it is given
    levels: tuple[Level, ...]

    @property
    def nbytes(self) -> int:
        maps = [level.map for level in self.levels if level.map is not None]
        return len(self.sample) + sum(m.numel() * m.element_size() for m in maps)


@dataclass(frozen=True)
class Kept:
    """Says of a view that a store has it; what a loader's worker needs to read it ahead."""

    key: Key
    path: Optional[str] = None  # None: in memory
    check: bool = False  # whether nobody in this run has compared its checksum

    def ahead(self) -> bool:
        """Has the file read into the system's cache; False if it is not there."""
        if self.path is None:
            return True
        try:
            if self.check:
                _content(self.path, check=True)
                return True
            descriptor = os.open(self.path, os.O_RDONLY)
        except ValueError:
            return True  # spoiled: the store says so, and has it made anew
        except OSError:
            return False
        try:
            if hasattr(os, 'posix_fadvise'):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
        return True


class MemoryStore:
    """Views in the memory of this process.

    Args:
        budget: Bytes that all views together may take.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self._records: dict[Key, Record] = {}
        self._fingerprint = ''

    def begin(self, fingerprint: str, lasting: bool) -> None:
        """Forgets what other weights have made."""
        if fingerprint != self._fingerprint:
            self._records.clear()
            self._fingerprint, self.used = fingerprint, 0

    def refresh(self) -> None:
        """Nobody else writes here."""

    def find(self, key: Key) -> Optional[Kept]:
        return Kept(key) if key in self._records else None

    def read(self, kept: Kept) -> Optional[Record]:
        return self._records.get(kept.key)

    def write(self, key: Key, record: Record) -> None:
        if self.used + record.nbytes <= self.budget and key not in self._records:
            self._records[key] = record
            self.used += record.nbytes

    def drop(self) -> None:
        """Forgets everything."""
        self._records.clear()
        self._fingerprint, self.used = '', 0

    def close(self) -> None:
        self.drop()


class FolderStore:
    """Views in files, one for each, which several processes and runs may share.

    A file appears whole or not at all, and has a checksum, which is compared when a run first reads
    it. Files lie in a folder for each fingerprint.

    Args:
        folder: The folder; it is made.
        budget: Bytes that the files of a fingerprint may take.
        entry: Names what the data set has at a place: file, size, time and annotations.
        temporary: Whether the whole folder goes at the end.
        writers: Processes that write into it; they share what is left of the budget.
        report: Is told why nothing more is written.
    """

    def __init__(
        self,
        folder: Union[str, Path],
        budget: int,
        entry: Callable[[int], str],
        temporary: bool = False,
        writers: int = 1,
        report: Callable[[str], None] = print,
    ) -> None:
        self.budget, self.used = budget, 0
        self._folder, self._entry, self._temporary = Path(folder), entry, temporary
        self._writers, self._report = writers, report
        self._place: Optional[Path] = None
        self._lasting = False
        self._room = 0
        self._full = False
        self._checked: set[str] = set()

    def begin(self, fingerprint: str, lasting: bool) -> None:
        """Turns to the files of a fingerprint; those of the last go, unless they are lasting."""
        place = self._folder / fingerprint
        if place != self._place:
            self.drop()
        self._place, self._lasting = place, lasting
        self._place.mkdir(parents=True, exist_ok=True)
        for draft in self._place.glob('*.new'):
            try:
                if time.time() - draft.stat().st_mtime > _STALE:
                    draft.unlink()
            except OSError:
                pass  # another run was faster
        self.refresh()

    def refresh(self) -> None:
        """Looks how much room other processes have left."""
        if self._place is not None and self._place.is_dir():
            self.used = sum(_size(entry) for entry in os.scandir(self._place))
        self._room = (self.budget - self.used) // self._writers

    def find(self, key: Key) -> Optional[Kept]:
        path = self._path(key)
        return Kept(key, path, path not in self._checked) if os.path.exists(path) else None

    def read(self, kept: Kept) -> Optional[Record]:
        """The view, its maps in the file; None if that is gone, spoiled, or of other weights."""
        path = str(kept.path)
        if Path(path).parent != self._place:
            return None
        try:
            record = _content(path, check=path not in self._checked and kept.check)
        except FileNotFoundError:
            return None
        except Exception as error:  # bytes that were not written can be anything
            self._report(f'{path} is not whole and is made anew: {error}')
            _remove(path)
            return None
        self._checked.add(path)
        return record

    def write(self, key: Key, record: Record) -> None:
        path = self._path(key)
        if self._full or record.nbytes > self._room or os.path.exists(path):
            return
        try:
            with atomic_write(Path(path), 'wb') as file:
                for part in _parts(record):
                    file.write(part)
        except OSError as error:  # a full disk, a folder that has gone
            self._full = True
            self._report(f'nothing more is kept, for {path} cannot be written: {error}')
            return
        self._room -= record.nbytes
        self.used += record.nbytes
        self._checked.add(path)

    def close(self) -> None:
        self.drop()
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)

    def drop(self) -> None:
        """Deletes the files of this fingerprint, unless they are lasting."""
        if self._place is not None and not self._lasting:
            shutil.rmtree(self._place, ignore_errors=True)
            self._place = None

    def _path(self, key: Key) -> str:
        return str(Path(str(self._place), f'{key[0]}-{key[1]}-{self._entry(key[0])}.features'))


Store = Union[MemoryStore, FolderStore]


def _parts(record: Record) -> Iterable[bytes]:
    """What a file consists of."""
    levels, maps, place = [], [], 0
    for level in record.levels:
        where = None
        if level.map is not None:
            data = level.map.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            where, place = (place, level.map.dtype), place + len(data) + -len(data) % _ALIGNED
            maps.append(data + bytes(-len(data) % _ALIGNED))
        levels.append((level.shape, level.dtype, where))
    header = pickle.dumps((record.image, record.sample, levels))
    header += bytes(-(_HEAD.size + len(header)) % _ALIGNED)  # pickle stops where it has ended
    checksum = zlib.crc32(header, zlib.crc32(struct.pack('<Q', len(header))))
    for data in maps:
        checksum = zlib.crc32(data, checksum)
    return [_HEAD.pack(_MAGIC, checksum, len(header)), header, *maps]


def _content(path: str, check: bool) -> Record:
    """A file's record, its maps in place; a ValueError if it is not what was written."""
    data = np.memmap(path, np.uint8, 'c')  # of the process alone, should anybody write
    if len(data) < _HEAD.size:
        raise ValueError('it is too short')
    magic, checksum, length = _HEAD.unpack(data[: _HEAD.size].tobytes())
    if magic != _MAGIC or (check and zlib.crc32(data[_SUMMED:].data) != checksum):
        raise ValueError('its checksum is another')
    start = _HEAD.size + length
    image, sample, levels = pickle.loads(data[_HEAD.size : start].tobytes())
    found = []
    for shape, dtype, where in levels:
        part = None
        if where is not None:
            place, kind = start + where[0], where[1]
            size = int(np.prod(shape)) * torch.empty((), dtype=kind).element_size()
            part = torch.from_numpy(data[place : place + size]).view(kind).view(shape)
        found.append(Level(tuple(shape), dtype, part))
    return Record(image, sample, tuple(found))


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
