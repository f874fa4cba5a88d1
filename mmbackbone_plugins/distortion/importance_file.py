"""Files of importance: an estimate takes up to thousands of passes, so it is used again.

It is good for the same configuration, weights and data only: a fingerprint of each lies beside it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import torch

from ..utils import checkpoints
from ..utils.files import atomic_write, hash_of

VERSION = 1


@dataclass(frozen=True)
class Fingerprint:
    """What an importance was estimated from, as hashes."""

    config: str  # settings: kind, passes, parameters, model, loader, processes
    weights: str  # all weights and buffers of the model
    data: str

    def differences(self, other: 'Fingerprint') -> list[str]:
        """Names of the parts in which two differ."""
        return [part for part, own in asdict(self).items() if own != getattr(other, part)]

    def __str__(self) -> str:
        return hash_of(asdict(self))[:12]


@dataclass(frozen=True)
class ImportanceFile:
    """What a file holds: a kind, what it was estimated from, and importance by name on the CPU."""

    kind: str
    fingerprint: Fingerprint
    tensors: dict[str, torch.Tensor]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, 'wb') as file:
            torch.save(self.to_dict(), file)

    @classmethod
    def load(cls, path: Path) -> 'ImportanceFile':
        """Reads a file; a ValueError if it is not there, or no such file."""
        label = f'importance file {str(path)!r}'
        if not path.exists():
            raise ValueError(f'{label} does not exist')
        found = checkpoints.read(path, label, weights_only=True)
        if found.get('version') != VERSION:
            raise ValueError(
                f'{str(path)!r} is not an importance file of version {VERSION}, as '
                'DistortionRegularizerHook writes them into work dirs'
            )
        return cls.from_dict(found)

    def to_dict(self) -> dict[str, Any]:
        """The content as plain types, for a checkpoint."""
        tensors = {n: t.detach().cpu() for n, t in self.tensors.items()}
        fingerprint = asdict(self.fingerprint)
        return dict(version=VERSION, kind=self.kind, fingerprint=fingerprint, tensors=tensors)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> 'ImportanceFile':
        """What :meth:`to_dict` returned."""
        return cls(found['kind'], Fingerprint(**found['fingerprint']), dict(found['tensors']))


def path_in(folder: Path, kind: str, fingerprint: Fingerprint) -> Path:
    """Where the importance of a fingerprint is kept: none ever takes the place of another."""
    return folder / f'importance-{kind}-{fingerprint}.pth'


def fingerprint_data(dataset: Any, samples: int = 64) -> str:
    """A hash of a data set: length, classes, and annotations of ``samples`` images over it."""
    length: Optional[int] = len(dataset) if hasattr(dataset, '__len__') else None
    parts: list[Any] = [type(dataset).__name__, length, getattr(dataset, 'metainfo', None)]
    if length and hasattr(dataset, 'get_data_info'):
        step = max(1, length // samples)
        parts += [dataset.get_data_info(i) for i in range(0, length, step)]
    return hash_of(parts)
