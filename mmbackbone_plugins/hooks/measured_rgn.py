"""RGN in a run as it is now, in a few batches of its training data."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from mmengine import dist
from torch import nn

from ..distortion.passes import gradient_passes
from ..distortion.rgn import average, measure
from ..utils.sampling import SeededBatches, images_in_batch
from ..utils.untouched import untouched_attributes
from ..utils.wrappers import unwrap
from .measuring_cost import counted


class MeasuredRGN:
    """Measures the relative gradient norm of tensors; nothing of the run is touched.

    Made in ``before_train``: the data set is copied as it is then. Each process goes through
    ``num_batches``. ``frozen``: tensors that are frozen are measured too.
    """

    def __init__(
        self,
        runner: Any,
        parameters: Mapping[str, nn.Parameter],
        num_batches: int,
        frozen: bool = False,
    ) -> None:
        self._runner, self._parameters, self._frozen = runner, parameters, frozen
        self._batches = SeededBatches(
            runner.train_dataloader,
            unwrap(runner.model),
            batch_size=images_in_batch(runner.train_dataloader),
            num_batches=num_batches * dist.get_world_size(),
        )

    @property
    def images(self) -> int:
        """Images that all processes together go through."""
        sizes, world = [len(part) for part in self._batches.parts], dist.get_world_size()
        return sum(sum(sizes[self._share(rank)]) for rank in range(world))

    def _share(self, rank: int) -> slice:
        parts, world = len(self._batches), dist.get_world_size()
        # As many on each rank, for synchronised norms wait for each other; all have all if few.
        return slice(rank, parts // world * world, world) if parts >= world else slice(None)

    def __call__(self, seed: int) -> dict[str, float]:
        """RGN by tensor: a mean over batches of all processes, equal on all; ``seed`` chooses."""
        batches = self._batches.loaded(seed, self._share(dist.get_rank()))
        enable = self._parameters.values() if self._frozen else ()
        with untouched_attributes([self._runner.message_hub]):
            passes = gradient_passes(unwrap(self._runner.model), batches, enable=enable)
            passes = counted(self._runner, passes)
            own = average([measure(self._parameters).read() for _ in passes]).values
        found = dist.all_gather_object(own)
        names = dict.fromkeys(name for part in found for name in part)
        return {n: fmean(part[n] for part in found if n in part) for n in names}
