"""What a feature cache will keep and spare, as text, before a run."""

import os
import time
from typing import Any, Optional

import torch
from mmengine.dist import get_world_size

from ..freezing.feature_cache import frozen_phases, record_of, units_read
from ..freezing.feature_store import Store
from ..utils.text import duration_text, table
from ..utils.wrappers import unwrap
from .cacheable import Probe
from .freezing_scheduler_hook import FreezingSchedulerHook


def cache_table(
    runner, found: Probe, store: Optional[Store], images: int, views: int, dtype: torch.dtype
) -> str:
    """A table of bytes and times; an image's features are written and read once for it."""
    if store is None:
        return f'{views} views of {images:,} images, which are computed every time'
    record = record_of(found.outputs, found.read, dtype, ((), torch.uint8), b'')
    needed = record.nbytes * images * views
    fits = min(1.0, store.budget / needed)
    store.begin(f'trial-{os.getpid()}', lasting=False)  # others may share the folder
    store.write((0, 0), record)
    kept, start = store.find((0, 0)), time.perf_counter()
    again = store.read(kept) if kept else None
    for level in again.levels if again else ():
        torch.stack([level.tensor()])
    reading = time.perf_counter() - start
    store.drop()
    levels = ', '.join(str(i) for i, read in enumerate(found.read) if read)
    rows = [
        ('image', ' x '.join(map(str, found.shape))),
        ('levels that are read', f'{levels} of 0 to {len(found.read) - 1}'),
        ('a view', f'{record.nbytes / 1e6:.2f} MB ({str(dtype).removeprefix("torch.")})'),
        (f'{images:,} images, {views} views', f'{needed / 1e9:.2f} GB'),
        ('budget', f'{store.budget / 1e9:.2f} GB: {fits:.0%} of them'),
        ('a view is computed in', f'{found.seconds * 1e3:.1f} ms'),
    ]
    if again:
        rows.append(('and read in', f'{reading * 1e3:.1f} ms'))
    rows += _times(runner, found.seconds, reading, fits, images, views)
    return f'what is kept, and what that spares\n{table(rows, "<<")}'


def _times(
    runner, computing: float, reading: float, fits: float, images: int, views: int
) -> list[tuple[str, str]]:
    ruler = next((h for h in runner.hooks if isinstance(h, FreezingSchedulerHook)), None)
    if ruler is None or ruler.freezer is None or not ruler.schedule.by_epoch:
        return []
    if ruler.schedule.decides:
        return []
    model: Any = unwrap(runner.model)
    frozen = frozen_phases(ruler.phases, ruler.freezer, model.backbone)
    epochs, read = sum(p.length for p in frozen), units_read(frozen, views)
    share = images / get_world_size()
    before = epochs * share * computing
    after = before - read * share * fits * (computing - reading)
    seconds = f'{duration_text(before)}, with the cache {duration_text(after)}'
    return [
        ('frozen epochs', f'{epochs}, of which {read} read what was kept'),
        ('the backbone in them', f'about {seconds}, and less loading'),
    ]
