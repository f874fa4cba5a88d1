"""Kept features in place of a frozen backbone's forward pass."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from ..utils.wrappers import replace_method
from .feature_store import Key, Level, Record, Store
from .freezer import Freezer
from .phases import Phase

_TRIED = 10  # batches of each kind after which reading and computing are compared


@dataclass
class Waiting:
    """One image of the batch that the backbone is about to see."""

    key: Key
    record: Optional[Record]  # None: its features are computed
    image: tuple[tuple[int, ...], torch.dtype]
    sample: bytes  # its data sample, pickled; nothing where it will not be kept


class FeatureCache:
    """Lets a frozen backbone read the features of images that it has seen.

    A batch may have images of both kinds; those that are new go through the backbone together. What
    it returns is contiguous, and rounded to the type in which it is kept, whether it was read or
    computed just now. An image that would go through it alone goes twice, for convolutions of one
    image may round otherwise than those of several.

    Args:
        backbone: The backbone.
        store: Where features are kept; None keeps none.
        read: Of each of its outputs, whether anybody reads it.
        dtype: Type in which single-precision features are kept.
        several: Whether batches have several images.
    """

    def __init__(
        self,
        backbone: nn.Module,
        store: Optional[Store],
        read: Sequence[bool],
        dtype: torch.dtype = torch.float32,
        several: bool = True,
    ) -> None:
        self.store = store
        self._backbone, self._read, self._dtype = backbone, list(read), dtype
        self._several = several
        self._waiting: Optional[list[Waiting]] = None
        self._undo: Callable[[], None] = lambda: None
        self._spent = 0.0
        self._seconds: dict[str, list[float]] = dict(read=[], computed=[])  # of whole batches
        self.images = dict(read=0, computed=0)

    def wait(self, waiting: list[Waiting], spent: float = 0.0) -> None:
        """The next forward pass is of these images; ``spent`` are seconds that it took to load."""
        self._waiting, self._spent = waiting, spent
        own = self._backbone.forward
        self._undo = replace_method(self._backbone, 'forward', partial(self._forward, own))

    def leave(self) -> bool:
        """Puts the backbone's own forward pass back; False if it was not called."""
        called, self._waiting = self._waiting is None, None
        self._undo()
        return called

    def __deepcopy__(self, memo: dict) -> 'FeatureCache':
        return self  # a copy of the model must not drag the features along

    def _forward(self, own: Callable, images: Tensor) -> Any:
        waiting, self._waiting = self._waiting, None
        self._undo()  # first in, last out: others have replaced the forward pass below
        if waiting is None or len(waiting) != len(images):
            raise RuntimeError(
                f'FeatureCacheHook: the backbone got {len(images)} images where '
                f'{len(waiting or ())} were loaded; a model that splits or joins batches cannot '
                'have a feature cache'
            )
        start = time.perf_counter()
        new = [i for i, w in enumerate(waiting) if w.record is None]
        outputs: list[Tensor] = []
        kind: type = tuple
        if new:
            part = images if len(new) == len(images) else images[new]
            if len(part) == 1 and self._several:
                part = torch.cat([part, part])
            found = own(part)
            kind = type(found)
            outputs = [self._rounded(out[: len(new)]) for out in found]
            self._keep([waiting[i] for i in new], outputs)
        records = [w.record for w in waiting if w.record is not None]
        if records:
            outputs = [
                self._joined(level, [r.levels[level] for r in records], outputs, new, images)
                for level in range(len(self._read))
            ]
        self.images['computed'] += len(new)
        self.images['read'] += len(records)
        if not new or not records:
            self._time('computed' if new else 'read', start, images)
        return kind(outputs)

    def _rounded(self, output: Tensor) -> Tensor:
        if output.dtype == torch.float32 and self._dtype != torch.float32:
            output = output.to(self._dtype).to(output.dtype)
        return output.contiguous()

    def _keep(self, waiting: list[Waiting], outputs: list[Tensor]) -> None:
        for i, w in enumerate(waiting):
            if self.store is not None and w.sample:
                one = [out[i : i + 1] for out in outputs]
                record = record_of(one, self._read, self._dtype, w.image, w.sample)
                self.store.write(w.key, record)

    @staticmethod
    def _joined(
        level: int, kept: list[Level], computed: list[Tensor], new: list[int], images: Tensor
    ) -> Tensor:
        """An output of the whole batch, in its order."""
        if kept[0].map is None:
            return kept[0].tensor().to(images.device).expand(len(images), *kept[0].shape)
        joined = torch.stack([one.tensor() for one in kept]).to(images.device)
        if not new:
            return joined
        out = joined.new_empty((len(images), *joined.shape[1:]))
        chosen = torch.zeros(len(images), dtype=torch.bool)
        chosen[new] = True
        out[chosen], out[~chosen] = computed[level], joined
        return out

    # -- which is faster -------------------------------------------------------------------------

    @property
    def slower(self) -> Optional[tuple[float, float]]:
        """Median seconds of batches that were read and computed, if reading takes longer.

        None before there are enough of both.
        """
        if any(len(times) < _TRIED for times in self._seconds.values()):
            return None
        read, computed = (statistics.median(self._seconds[k]) for k in ('read', 'computed'))
        return (read, computed) if read > computed else None

    def _time(self, kind: str, start: float, images: Tensor) -> None:
        times = self._seconds[kind]
        if len(times) < _TRIED:
            if images.is_cuda:
                torch.cuda.synchronize(images.device)
            times.append(time.perf_counter() - start + self._spent)


def record_of(
    outputs: Sequence[Tensor],
    read: Sequence[bool],
    dtype: torch.dtype,
    image: tuple[tuple[int, ...], torch.dtype],
    sample: bytes,
) -> Record:
    """What is kept of a backbone's outputs for one image."""
    levels = []
    for output, wanted in zip(outputs, read):
        kind = dtype if output.dtype == torch.float32 else output.dtype
        kept = output[0].detach().to('cpu', kind, copy=True).contiguous() if wanted else None
        levels.append(Level(tuple(output.shape[1:]), output.dtype, kept))
    return Record(image, sample, tuple(levels))


def frozen_phases(phases: Sequence[Phase], freezer: Freezer, backbone: nn.Module) -> list[Phase]:
    """The phases of a schedule in which nothing of the backbone trains."""
    inside = {id(p) for p in backbone.parameters()}
    return [p for p in phases if inside.isdisjoint(map(id, freezer.parameters_of(p.trainable)))]


def units_read(frozen: Sequence[Phase], views: int) -> int:
    """Epochs of frozen phases in which all features have been seen before."""
    return sum(max(0, p.length - views) for p in frozen)


def restless(backbone: nn.Module) -> dict[str, nn.Module]:
    """The modules, by name, that do something else in train mode."""
    kinds = (_NormBase, _DropoutNd)
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, kinds) or type(module).__name__ == 'DropPath'
    }
