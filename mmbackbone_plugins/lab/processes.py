"""Many small tasks in a pool of processes, and how many of them a machine has room for."""

import math
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable

import cv2


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def spread(work: Callable[[Any], Any], tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yields ``work`` of every task in their order; with less than two workers in this process."""
    workers = min(workers, len(tasks))
    if sys.platform == 'win32':
        workers = min(workers, 61)  # more are an error there
    if workers <= 1:
        yield from map(work, tasks)
        return
    # A forked worker need not import anything again, which takes longer than most work.
    method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
    context = multiprocessing.get_context(method)
    # Threads of OpenCV do not survive a fork.
    pool = ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(0,))
    try:
        yield from pool.map(work, tasks, chunksize=min(4, math.ceil(len(tasks) / workers)))
    finally:
        pool.shutdown(cancel_futures=True)
