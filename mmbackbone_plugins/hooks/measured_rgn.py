"""RGN of a model in a run as it is now, in a few batches of its training data."""

from collections.abc import Mapping
from itertools import islice

import torch
from mmengine import dist
from torch import nn

from ..distortion.passes import gradient_passes
from ..distortion.rgn import average, measure
from ..utils.sampling import SeededBatches
from ..utils.untouched import untouched_attributes


def measured_rgn(
    runner,
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    num_batches: int,
    seed: int,
) -> dict[str, float]:
    """RGN by tensor, averaged over batches and processes. Nothing of the run is touched.

    Args:
        runner: The runner.
        model: Its model, without a wrapper.
        parameters: What is measured, by name, whether it is frozen now or not.
        num_batches: Number of batches, over all processes; rounded up to a multiple of theirs, for
            losses that average over the processes wait for each other.
        seed: Chooses images and augmentation.

    Returns:
        RGN by name, equal on all processes; of tensors that have a gradient in all of them.

    Raises:
        ValueError: If the data set has fewer batches than there are processes.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    batches = SeededBatches(
        runner.train_dataloader,
        model,
        num_batches=-(-num_batches // world) * world,
        seed=seed,
        rank=rank,
        world_size=world,
        preprocess=False,
    )
    each = batches.total // world
    with untouched_attributes([runner.message_hub]):
        found = [
            measure(parameters).read()
            for _ in gradient_passes(model, islice(batches, each), enable=parameters.values())
        ]
    values = average(found).values
    row = torch.tensor([[values.get(name, float('nan')) for name in parameters]]).double()
    if world > 1:
        dist.all_reduce(row)
    means = (row[0] / world).tolist()
    return {name: mean for name, mean in zip(parameters, means) if mean == mean}
