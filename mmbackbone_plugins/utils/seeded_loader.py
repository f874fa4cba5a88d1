"""A data loader whose samples are a function of seed, epoch and place, whoever reads them."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch.utils.data import DataLoader

from .untouched import seed_everything, untouched_random_numbers

SAMPLE, SAMPLER, STEP, EPOCH, VIEW = range(5)  # what random numbers are for


def seed_of(*key: int) -> int:
    """A seed for whole numbers from 0; neighbours, and others in order, have nothing in common."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


class _Drawn(NamedTuple):
    """What the sampler has chosen, and the seed of the random numbers that augment it."""

    index: Any
    seed: int


class Proxy:
    """Asks what is inside for all that it has not itself."""

    _inner: Any

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # a data set's ``__getitems__`` would read several under one seed
            raise AttributeError(name)
        return getattr(self._inner, name)


class ProxyDataset(Proxy):
    """A data set around another one, which keeps all attributes."""

    def __init__(self, dataset: Any) -> None:
        object.__setattr__(self, '_inner', dataset)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __reduce__(self) -> Any:
        return type(self), (self._inner,)


class _SeededDataset(ProxyDataset):
    """Sets the seeds before it reads what :class:`SeededLoader` has drawn; all else is inner."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, _Drawn):
            seed_everything(index.seed)
            index = index.index
        return self._inner[index]


class _SeededBatches(Proxy):
    """A batch sampler that gives every index a seed, and goes on in the middle of a pass."""

    def __init__(self, sampler: Any, key: tuple[int, ...]) -> None:
        self._inner, self._key = sampler, key
        self.number = 0
        self.past = 0  # batches of this pass that were left out
        self._begun: Optional[Iterator[list[_Drawn]]] = None

    def __iter__(self) -> Iterator[list[_Drawn]]:
        # A generator, so that nothing is taken before the first batch: torch makes two iterators
        # where workers persist, and uses one.
        begun, self._begun = self._begun, None
        yield from begun or self._batches(self.number)

    def skip(self, count: int) -> None:
        """Goes past batches, of several passes if need be, without reading a sample."""
        batches = iter(self)
        for _ in range(count):
            if next(batches, None) is None:
                self.start(self.number + 1)
                batches = iter(self)
                next(batches)
        self._begun, self.past = batches, count

    def start(self, number: int) -> None:
        """Begins a pass."""
        self.number, self.past = number, 0
        set_epoch(self._inner, number)

    def _batches(self, number: int) -> Iterator[list[_Drawn]]:
        batches, place, drawn = iter(self._inner), 0, 0
        while True:
            with untouched_random_numbers():  # samplers may draw from the global ones
                seed_everything(seed_of(*self._key, SAMPLER, number, place))
                batch = next(batches, None)
            if batch is None:
                return
            yield [
                _Drawn(index, seed_of(*self._key, SAMPLE, number, drawn + i))
                for i, index in enumerate(batch)
            ]
            place, drawn = place + 1, drawn + len(batch)


class SeededLoader:
    """Makes what a data loader yields a function of seed, epoch and place, until ``restore``.

    Samples are read under random numbers of their own, so that it does not matter which worker
    reads one, how many there are, and what was read before. Samplers that draw from the global
    random numbers draw from those of seed, epoch and place too. Each rank augments in its own way.
    The loader is changed in place, for others hold it; what has begun to read from it is given up.
    """

    def __init__(self, loader: DataLoader, seed: int, rank: int = 0) -> None:
        self._loader = loader
        self._before = dict(dataset=loader.dataset, batch_sampler=loader.batch_sampler)
        self._batches = _SeededBatches(loader.batch_sampler, (seed, rank))
        set_parts(loader, dataset=_SeededDataset(loader.dataset), batch_sampler=self._batches)

    def start(self, number: int, past: int = 0) -> None:
        """Begins an epoch, without the batches that were trained on before (``past``)."""
        self._batches.start(number)
        self._batches.skip(past)

    def endless(self, past: int) -> Iterator[Any]:
        """Batches of one pass after the other, without the first ones; none of those is read."""
        self.start(0, past)
        while True:
            yield from self._loader
            self._batches.start(self._batches.number + 1)

    def restore(self) -> None:
        """Gives the loader back what it had."""
        set_parts(self._loader, **self._before)


def set_epoch(batch_sampler: Any, number: int) -> None:
    """Tells a batch sampler, and the sampler in it, which pass begins."""
    samplers: list[Any] = [batch_sampler, getattr(batch_sampler, 'sampler', None)]
    for sampler in samplers:
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(number)


def set_parts(loader: DataLoader, **parts: Any) -> None:
    """Gives a loader another data set or sampler; torch forbids it, for open iterators.

    A loop of iterations of an earlier mmengine has begun to read by then: persistent workers have
    the data set as it was, and mmengine's InfiniteSampler, with one generator of indices for all
    that ask, would end with the iterator that is given up.
    """
    begun = getattr(loader, '_iterator', None)
    if begun is not None:
        begun._shutdown_workers()
        loader._iterator = None
    samplers: list[Any] = [loader.sampler, getattr(loader.batch_sampler, 'sampler', None)]
    for sampler in samplers:
        if hasattr(sampler, '_indices_of_rank'):
            sampler.indices = sampler._indices_of_rank()
    for name, part in parts.items():
        object.__setattr__(loader, name, part)


def hidden_state(loader: DataLoader) -> list[str]:
    """Samplers and transforms that keep a cache of samples or random numbers, for a message."""
    own = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    found, seen, rest = [], set(), [loader.dataset, loader.batch_sampler, loader.sampler]
    while rest:
        part = rest.pop()
        if id(part) in seen or not hasattr(part, '__dict__') or isinstance(part, (type, own)):
            continue
        seen.add(id(part))
        for name, value in vars(part).items():
            if isinstance(value, own) or name == 'results_cache':
                found.append(f'{type(part).__name__} ({name})')
            elif name in ('pipeline', 'transforms', 'dataset', 'datasets', 'sampler', '_inner'):
                rest += value if isinstance(value, (list, tuple)) else [value]
    return sorted(set(found))
