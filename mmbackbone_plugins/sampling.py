"""The same images each time, chosen by a seed, without a trace in a run's random numbers."""

from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch
from torch import nn

from .distortion.untouched import seed_everything, untouched_random_numbers


class SeededBatches:
    """Batches of a loader's data set that are a function of the seed alone.

    Images are chosen without replacement, and the random numbers that augment an image depend on
    its place among the chosen. The loader itself, its sampler and its workers are not touched:
    samples are loaded here, one batch at a time.

    Args:
        loader: A data loader; its data set, its ``collate_fn`` and its batch size are used.
        model: Its ``data_preprocessor`` takes the batches; without a distributed wrapper.
        batch_size: Images in a batch; default is the loader's.
        num_batches: Batches at most. All ranks together: each takes its share.
        num_images: Images at most.
        seed: Chooses the images and their augmentation.
        rank: Number of this process.
        world_size: Number of processes; batches go round. Their content does not depend on it.

    Raises:
        ValueError: If the data set has no length or is empty.
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
        self.dataset, self.collate, self.model = loader.dataset, loader.collate_fn, model
        self.seed = seed
        if not hasattr(self.dataset, '__len__'):
            raise ValueError(
                f'images are chosen from a data set of known length, {type(self.dataset).__name__} '
                'has none'
            )
        if not len(self.dataset):
            raise ValueError(
                f'the data set ({type(self.dataset).__name__}) has no images: check ann_file, '
                'data_root and filter_cfg'
            )
        size = batch_size or getattr(loader, 'batch_size', None) or 1
        limits = [num_images, num_batches and num_batches * size]
        most = min((n for n in limits if n), default=len(self.dataset))
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(seed))
        numbered = list(enumerate(order[:most].tolist()))
        self.num_images = len(numbered)
        parts = [numbered[i : i + size] for i in range(0, len(numbered), size)]
        self.parts = parts[rank::world_size]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Any]:
        """Preprocessed batches, as the model's ``forward`` takes them."""
        late = loads_boxes_after_resize(self.dataset)
        for part in self.parts:
            # Inside, for the caller has random numbers of its own between two batches.
            with untouched_random_numbers():
                samples = []
                for number, index in part:
                    seed_everything(self.seed + number)
                    samples.append(self.dataset[index])
                batch = self.model.data_preprocessor(self.collate(samples), False)
            if late and isinstance(batch, dict):
                _boxes_to_input(batch.get('data_samples') or [])
            yield batch


def inputs_of(batch: Any) -> torch.Tensor:
    """The images of a preprocessed batch, ``(N, 3, H, W)``."""
    inputs = batch['inputs'] if isinstance(batch, dict) else batch[0]
    return inputs if inputs.dim() == 4 else inputs[None]


def loads_boxes_after_resize(dataset: Any) -> bool:
    """Whether a data set's boxes are in pixels of the file and not of the resized image.

    MMDetection's validation pipelines are made so, for the metrics compare at the file's scale.
    """
    while not hasattr(dataset, 'pipeline'):
        inner = getattr(dataset, 'dataset', None)
        if inner is None:
            several = getattr(dataset, 'datasets', None) or [None]
            inner = several[0]
        if inner is None:
            return False
        dataset = inner
    steps: Sequence[Any] = getattr(dataset.pipeline, 'transforms', ())
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
