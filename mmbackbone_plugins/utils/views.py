"""A data loader that gives every image a fixed number of augmented versions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Optional

from torch.utils.data import DataLoader

from .seeded_loader import VIEW, Proxy, ProxyDataset, seed_of, set_epoch, set_parts
from .untouched import seed_everything, untouched_random_numbers


@dataclass(frozen=True)
class View:
    """One of the versions of an image, and where its features are kept already."""

    index: int  # of the image in the data set
    number: int  # of the version
    kept: Any = None  # None: it has to be loaded

    @property
    def key(self) -> tuple[int, int]:
        return self.index, self.number


class _ViewDataset(ProxyDataset):
    """Loads views; of one that is kept only says so. All else is inner."""

    def __init__(self, dataset: Any, seed: int) -> None:
        super().__init__(dataset)
        object.__setattr__(self, '_seed', seed)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, View):
            return self._inner[index]
        if index.kept is not None and index.kept.ahead():
            return dict(inputs=None, data_samples=None, view=index)
        return dict(self.load(index), view=replace(index, kept=None))

    def load(self, view: View) -> Any:
        # The model draws random numbers in the process that may read this: as many, read or kept.
        with untouched_random_numbers():
            seed_everything(seed_of(self._seed, VIEW, view.index, view.number))
            return self._inner[view.index]

    def __reduce__(self) -> Any:
        return type(self), (self._inner, self._seed)


class _ViewBatches(Proxy):
    """A batch sampler that says of every index which view it is."""

    def __init__(
        self, sampler: Any, views: int, images: int, find: Callable[[tuple[int, int]], Any]
    ) -> None:
        self._inner, self._views, self._images, self._find = sampler, views, images, find
        self.epoch: Optional[int] = None
        self.past = 0  # batches that are left out
        self._drawn = 0

    def __iter__(self) -> Iterator[list[View]]:
        for batch in self._inner:
            passes = self._drawn // self._images if self.epoch is None else self.epoch
            self._drawn += len(batch)
            if self.past:
                self.past -= 1
                continue
            number = passes % self._views
            yield [View(index, number, self._find((index, number))) for index in batch]


class ViewLoader:
    """Makes a data loader read one of ``views`` versions of each image, until :meth:`restore`.

    Version ``k`` of image ``i`` draws the random numbers of its augmentation from seed, ``i`` and
    ``k`` alone. In epoch ``e`` it is version ``e`` modulo ``views``; loops of iterations count
    passes over the data. Samples are dicts as mmengine's ``pseudo_collate`` takes them, and have a
    :class:`View` beside them. The loader is changed in place, for others hold it.

    Args:
        loader: The loader.
        views: Number of versions.
        seed: Seed of all versions.
        ranks: Processes that share the images.
        find: Says where the features of an image's version are kept, given both their numbers;
            None for one that has to be loaded.
    """

    def __init__(
        self,
        loader: DataLoader,
        views: int,
        seed: int,
        ranks: int,
        find: Callable[[tuple[int, int]], Any],
    ) -> None:
        self._loader = loader
        self._before = dict(dataset=loader.dataset, batch_sampler=loader.batch_sampler)
        images = -(-len(loader.dataset) // ranks)  # type: ignore[arg-type]
        self.dataset = _ViewDataset(loader.dataset, seed)
        self._batches = _ViewBatches(loader.batch_sampler, views, images, find)
        set_parts(loader, dataset=self.dataset, batch_sampler=self._batches)

    def start(self, epoch: int) -> None:
        """Begins an epoch."""
        self._batches.epoch = epoch

    def endless(self, past: int) -> Iterator[Any]:
        """Batches of one pass after the other, without the first ones; none of those is read."""
        self._batches.past = past
        for number in count():
            set_epoch(self._batches, number)
            yield from self._loader

    def restore(self) -> None:
        """Gives the loader back what it had."""
        set_parts(self._loader, **self._before)
