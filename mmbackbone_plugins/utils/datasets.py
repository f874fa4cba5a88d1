"""Datasets of a config, with those that they wrap."""

from collections.abc import Iterator
from typing import Any


def every_dataset(config: Any, where: str = 'dataset') -> Iterator[tuple[str, dict[str, Any]]]:
    """A dataset's config and all that it (or a loader) wraps, outside in, each with its path."""
    if not config or not isinstance(config, dict):
        return
    yield where, config
    yield from every_dataset(config.get('dataset'), f'{where}.dataset')
    several = config.get('datasets')
    for i, one in enumerate(several if isinstance(several, (list, tuple)) else []):
        yield from every_dataset(one, f'{where}.datasets.{i}')


def innermost_datasets(config: Any, where: str = 'dataset') -> list[tuple[str, dict[str, Any]]]:
    """Those of :func:`every_dataset` that read files: all but the wrappers."""
    everything = every_dataset(config, where)
    return [(p, one) for p, one in everything if not (one.get('dataset') or one.get('datasets'))]
