"""The same images each time, chosen by a seed, without a trace in the run."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from .branches import LABELLED, has_branches, is_labelled
from .untouched import seed_everything, untouched, untouched_random_numbers

ANNOTATIONS = ('data_list', 'data_bytes', 'data_address')  # of mmengine's data sets
LARGE = 1000  # entries from which arrays and containers are taken for annotations


class Pristine:
    """A data set, or a collate function, as it was when this was made: a call returns such a copy.

    Reading an image may change what the next one is: transforms keep pictures, count, and draw from
    random numbers of their own, and hooks exchange whole pipelines. Annotations, which nothing
    changes, are shared by all copies and the original. A ValueError if it cannot be copied.
    """

    def __init__(self, dataset: Any) -> None:
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
        self._shared = _annotations(dataset)
        try:
            self._kept = copy.deepcopy(dataset, dict(self._shared))
        except Exception as error:
            raise ValueError(
                f'{type(dataset).__name__} of the data loader cannot be copied, and to read from '
                f'it here would change the run: {type(error).__name__}: {error}; open files and '
                'the like when the first image is read'
            ) from error

    def __call__(self) -> Any:
        return copy.deepcopy(self._kept, dict(self._shared))


def _annotations(dataset: Any) -> dict[int, Any]:
    """What copies share, as the memo of ``deepcopy``."""
    shared: dict[int, Any] = {}
    seen: set[int] = set()
    rest = [dataset]
    while rest:
        value = rest.pop()
        if id(value) in seen or isinstance(value, (str, bytes, type, ModuleType)):
            continue
        seen.add(id(value))
        if isinstance(value, (np.ndarray, torch.Tensor)):
            if np.prod(value.shape) >= LARGE:
                shared[id(value)] = value
        elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
            if len(value) >= LARGE:
                shared[id(value)] = value
            else:
                rest += value.values() if isinstance(value, Mapping) else value
        elif hasattr(value, '__dict__'):
            own = vars(value)
            shared.update((id(own[name]), own[name]) for name in ANNOTATIONS if name in own)
            rest += [part for part in own.values() if id(part) not in shared]
    return shared


class SeededBatches:
    """Batches of a loader's data set that are a function of the seed alone.

    Images are chosen without replacement, of a semi-supervised detector's data set the labelled
    ones. Random numbers that augment an image depend on its place among the chosen. Each is read
    from a copy of the data set as it was when this was made (:class:`Pristine`), before the first
    step: what was read since, and a pipeline that the run exchanges, change nothing. Transforms
    that mix in pictures which they have kept find none. The loader is not touched: samples are
    loaded here, one batch of ``batch_size`` images (default: the loader's) at a time, and
    preprocessed by the model. All ranks together take ``num_batches`` or ``num_images`` at most.

    A ValueError if the data set has no length, is empty, cannot be copied, or has branches of which
    none is of labelled images.
    """

    def __init__(
        self,
        loader: Any,
        model: nn.Module,
        batch_size: Optional[int] = None,
        num_batches: Optional[int] = None,
        num_images: Optional[int] = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        dataset, self.model = loader.dataset, model
        kind = type(dataset).__name__
        if not hasattr(dataset, '__len__'):
            raise ValueError(f'images are chosen from a data set of known length, {kind} has none')
        if not len(dataset):
            raise ValueError(
                f'the data set ({kind}) has no images: check ann_file, data_root and filter_cfg'
            )
        self._dataset, self._collate = Pristine(dataset), Pristine(loader.collate_fn)
        self._late = loads_boxes_after_resize(dataset)
        indices = self._indices(dataset)
        size = batch_size or getattr(loader, 'batch_size', None) or 1
        limits = [num_images, num_batches and num_batches * size]
        most = min((n for n in limits if n), default=len(indices))
        self._pool, self._size, self._most = indices, size, most
        self._share = slice(rank, None, world_size)
        self._choose(seed)

    def _choose(self, seed: int) -> None:
        indices, size = self._pool, self._size
        self.seed = seed
        order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(seed))
        numbered = [(n, indices[i]) for n, i in enumerate(order[: self._most].tolist())]
        self.num_images = len(numbered)
        starts = range(0, len(numbered), size)
        self.parts = [numbered[i : i + size] for i in starts][self._share]

    def loaded(self, seed: int, share: slice = slice(None)) -> Iterator[Any]:
        """Other images, by another seed, in a share of batches as the training loader yields them.

        Random numbers are left as the seed of a batch makes them: iterate where that is undone.
        """
        self._choose(seed)
        for part in self.parts[share]:
            samples = [self._sample(index, seed + number) for number, index in part]
            seed_everything(seed + part[0][0])
            yield self._collate()(samples)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Any]:
        """Preprocessed batches, as the model's ``forward`` takes them."""
        preprocessor: Any = self.model.data_preprocessor
        for part in self.parts:
            # Inside, for the caller has random numbers of its own between two batches.
            with untouched(preprocessor):
                samples = [self._sample(index, self.seed + number) for number, index in part]
                seed_everything(self.seed + part[0][0])
                loaded = self._collate()(samples)
                # MMSegmentation's pads for training alone; what mixes images there is left out.
                pads = len({tuple(image.shape) for image in loaded['inputs']}) > 1
                if pads:
                    preprocessor.batch_augments = None
                batch = preprocessor(loaded, pads)
            if self._late and isinstance(batch, dict):
                _boxes_to_input(batch.get('data_samples') or [])
            yield batch

    def _sample(self, index: int, seed: int) -> Any:
        sample = self._read(index, seed)
        if not has_branches(sample):
            return sample
        if not is_labelled(sample):
            raise ValueError(_no_label(sample))
        return {key: branches[LABELLED] for key, branches in sample.items()}

    def _read(self, index: int, seed: int) -> Any:
        with untouched_random_numbers():
            dataset = self._dataset()
            seed_everything(seed)
            return dataset[index]

    def _indices(self, dataset: Any) -> Sequence[int]:
        """Those to choose from: of data sets that are put together, those with labelled images."""
        everything = range(len(dataset))
        first = self._read(0, 0)
        if not has_branches(first):
            return everything
        ends = getattr(dataset, 'cumulative_sizes', None) or [len(dataset)]
        found: list[int] = []
        for start, end in zip([0, *ends], ends):
            if end > start and is_labelled(self._read(start, 0)):
                found += everything[start:end]
        if not found:
            raise ValueError(_no_label(first))
        return found


def _no_label(sample: Mapping[str, Any]) -> str:
    branches = ', '.join(map(repr, sample['inputs']))
    return (
        f'the data set has images of several branches ({branches}); those that are looked at are '
        f'labelled, in the branch {LABELLED!r} as MMDetection names it, and it has none'
    )


def images_in_batch(loader: Any) -> int:
    """Images in a batch of a loader, also of one whose batches a sampler makes."""
    size: int = getattr(loader.batch_sampler, 'batch_size', 1)
    return loader.batch_size or size


def inputs_of(batch: Any) -> torch.Tensor:
    """The images of a preprocessed batch, ``(N, 3, H, W)``."""
    inputs = batch['inputs'] if isinstance(batch, dict) else batch[0]
    return inputs if inputs.dim() == 4 else inputs[None]


def loads_boxes_after_resize(dataset: Any) -> bool:
    """Whether a data set's boxes are in pixels of the file and not of the resized image.

    MMDetection's validation pipelines are made so, for the metrics compare at the file's scale.
    """
    while dataset is not None and not hasattr(dataset, 'pipeline'):
        inside = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
        dataset = next((one for one in inside if one is not None), None)
    steps: Sequence[Any] = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    names = [type(step).__name__ for step in steps]
    resized = [i for i, name in enumerate(names) if 'Resize' in name]
    loaded = [i for i, name in enumerate(names) if name.endswith('LoadAnnotations')]
    return bool(resized and loaded and loaded[0] > resized[-1])


def _boxes_to_input(samples: Sequence[Any]) -> None:
    for sample in samples:
        factor = sample.metainfo.get('scale_factor')
        if factor is None or tuple(factor) == (1.0, 1.0):
            continue
        for field in ('gt_instances', 'ignored_instances'):
            boxes = getattr(getattr(sample, field, None), 'bboxes', None)
            if boxes is None:
                continue
            if hasattr(boxes, 'rescale_'):
                boxes.rescale_(tuple(factor))
            else:  # plain corners, x and y in turn
                scale = boxes.new_tensor(factor).repeat(boxes.shape[-1] // 2)
                getattr(sample, field).bboxes = boxes * scale
