"""Sums over tensors, part by part where that keeps a CPU's cache, without waiting for a device."""

from collections.abc import Iterator, Sequence
from typing import Optional

import torch

PART = 2**18  # entries


class Sums:
    """Adds up scalars by name, in float64.

    Args:
        names: Their names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}

    def add(self, name: str, part: torch.Tensor) -> None:
        """Adds a scalar on any device; it is not read."""
        self._parts[name].append(part)

    def read(self, device: Optional[torch.device] = None) -> torch.Tensor:
        """Shape ``(names,)``, on the device of the first part or the one given; 0 without parts."""
        first = next((parts[0] for parts in self._parts.values() if parts), torch.zeros(()))
        device = device or first.device
        zero = torch.zeros((), dtype=torch.float64, device=device)
        found = [
            (p[0] if len(p) == 1 else torch.stack(p).sum(dtype=torch.float64)) if p else zero
            for p in self._parts.values()
        ]
        found = [f.to(device, torch.float64) for f in found]
        return torch.stack(found) if found else zero[None][:0]


def readable(tensor: torch.Tensor) -> bool:
    """Whether its numbers can be read without waiting for a device."""
    return tensor.is_cpu


def in_parts(*tensors: Optional[torch.Tensor]) -> Optional[Iterator[tuple[torch.Tensor, ...]]]:
    """Goes through tensors of one shape part by part; None but for plain float32 on a CPU."""
    flat = []
    for t in tensors:
        if t is None or not (readable(t) and t.dtype == torch.float32 and t.is_contiguous()):
            return None
        flat.append(t.view(-1).split(PART))
    return zip(*flat)
