"""How far numbers from a few images can be trusted: resampling groups of images."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .moments import SecondMoment


def resampled(
    groups: Sequence[Mapping[str, SecondMoment]], count: int, seed: int = 0
) -> Iterator[dict[str, SecondMoment]]:
    """Bootstrap: moments by layer of as many groups as there are, drawn with replacement.

    Images are independent, positions of an image are not: what is drawn is groups of whole images,
    ``count`` times. What comes in is not changed. Source: Efron, "Bootstrap methods: another look
    at the jackknife", 1979; groups are ours.
    """
    if len(groups) < 2:
        raise ValueError(f'groups must be at least two to be resampled, got {len(groups)}')
    draw = np.random.default_rng(seed)
    for _ in range(count):
        chosen = draw.integers(len(groups), size=len(groups))
        yield merged([groups[i] for i in chosen])


def merged(groups: Sequence[Mapping[str, SecondMoment]]) -> dict[str, SecondMoment]:
    """Moments over the images of all groups; what comes in is not changed."""
    found = {}
    for name, first in groups[0].items():
        found[name] = SecondMoment(first.num_channels)
        for group in groups:
            found[name].merge(group[name])
    return found
