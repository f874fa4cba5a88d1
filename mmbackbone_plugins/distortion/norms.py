"""The one rule for adding up: in float32 or wider, and squares so that none overflows or vanishes.

Squares of float32 leave its range for entries above 1e19 and below 1e-23, and torch adds up those
of a CPU tensor in a few lanes, which loses 4 of 7 digits on a ResNet's largest kernel (measured).
In float64 both are exact enough, so that is where they are added up.
"""

from collections.abc import Sequence
from typing import Any

import torch

from .. import compat

_CHUNK = 2**15  # entries that are turned into float64 at once: they stay in the cache of a CPU


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type to add numbers of a type up in: float32, or that type where it is wider."""
    return torch.promote_types(dtype, torch.float32)


@torch.no_grad()
def l2_norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """L2 norm of every tensor, in float64 and on its device; no copy of it, no waiting for it."""
    norms: list[Any] = [None] * len(tensors)
    room = torch.empty(_CHUNK, dtype=torch.float64)
    together: dict[tuple, list[int]] = {}
    tensors = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    for number, tensor in enumerate(tensors):
        if tensor.dtype == torch.float64:
            norms[number] = _scaled(tensor)
        elif tensor.is_cpu:
            norms[number] = _in_chunks(tensor, room)
        else:
            together.setdefault((tensor.device, tensor.dtype), []).append(number)
    for numbers in together.values():
        for number, norm in zip(numbers, compat.l2_norms([tensors[n] for n in numbers])):
            norms[number] = norm
    return norms


def _in_chunks(tensor: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # a view in memory's order; norms have no order
    parts = [
        torch.linalg.vector_norm(room[: len(part)].copy_(part))
        for part in tensor.reshape(-1).split(_CHUNK)
    ]
    return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts))


def _scaled(tensor: torch.Tensor) -> torch.Tensor:
    """Of float64, for which there is nothing wider."""
    if not tensor.numel():
        return tensor.new_zeros(())
    largest = tensor.abs().amax()
    norm = largest * torch.linalg.vector_norm(tensor / largest)
    return torch.where((largest > 0) & largest.isfinite(), norm, largest)
