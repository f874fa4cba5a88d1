"""What a training has left in its work dir, as the numbers of a result."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Optional

from ...compat import distributions
from ...cost import Ledger
from ..visualization.logs import RunLog
from .results import SCORES

# As the metrics of mmdet and mmrotate call them.
_NAMES = {'bbox_mAP': 'mAP', 'bbox_mAP_50': 'AP50', 'bbox_mAP_75': 'AP75'}
_COUNTS = ('images', 'boxes')


def scores(metrics: Mapping[str, float], images: int) -> dict[str, Any]:
    """Sorts what an evaluator returned by keys such as ``dota/mAP`` and ``dota/plane/AP50``.

    Returns:
        ``mAP``, ``AP50``, ``AP75`` (those that there are), ``classes`` with the same, and numbers
        of ``images`` and ``boxes``.

    Raises:
        ValueError: If there is no mAP among them.
    """
    split = {key: key.rsplit('/', 1) for key in metrics}
    named = [(path[0] if path[1:] else '', path[-1], metrics[key]) for key, path in split.items()]
    named = [(where, _NAMES.get(name, name), value) for where, name, value in named]
    whole = [where for where, name, _ in named if name == 'mAP']
    if not whole:
        raise ValueError(f'the metric returned no mAP, only {sorted(metrics)}')
    prefix = min(whole, key=len)
    found: dict[str, Any] = dict(classes={}, images=images)
    for where, name, value in named:
        if name in _COUNTS and where == prefix:
            found[name] = int(value)
        elif name in SCORES and value == value:  # NaN: a class without a labelled box
            of_class = where[len(prefix) :].lstrip('/')
            place = found['classes'].setdefault(of_class, {}) if of_class else found
            place[name] = float(value)
    return found


def collect_cost(train: Path) -> dict[str, Any]:
    """Numbers of ``cost.json``; empty if the run was not billed."""
    try:
        ledger = Ledger.read(train)
    except FileNotFoundError:
        return {}
    totals = ledger.totals()
    phases = [p for p in ledger.phases.values() if p.steps]
    trained = sum(p.steps * p.trainable_parameters for p in phases)
    steps = sum(p.steps for p in phases)
    return dict(
        flops=totals['training_flops'],
        full_flops=totals['full_training_flops'],
        seconds=totals['step_seconds'],
        peak_memory=totals['peak_memory'],
        trainable_share=trained / steps / ledger.parameters if steps else None,
        communicated_bytes=totals['communicated_bytes'],
    )


def collect_rgn(log: RunLog) -> Optional[dict[str, Any]]:
    """Relative gradient norm at the first measurement and over the run; None if never measured.

    ``mean`` and ``first``: over all tensors, as the paper has it. ``median`` and ``median_first``:
    over weights of convolutions and linear layers, which biases that start at zero do not rule;
    over all tensors where the log has no kinds of parameters yet.
    """
    lines = [line for line in log.rgn if line.get('mean') is not None]
    if not lines:
        return None
    means = [line['mean'] for line in lines]
    found = (line.get('weights', {}).get('network', line.get('median')) for line in lines)
    medians = [median for median in found if median is not None]
    stages: dict[str, list[float]] = {}
    for line in log.rgn:
        for name, found in line['stages'].items():
            if isinstance(found, Mapping):  # otherwise a word: frozen, no gradient
                stages.setdefault(name, []).append(found['mean'])
    robust = dict(median_first=medians[0], median=fmean(medians)) if medians else {}
    return dict(
        first=means[0],
        mean=fmean(means),
        **robust,
        stages={n: fmean(found) for n, found in stages.items()},
    )


def collect_drift(log: RunLog) -> Optional[dict[str, Any]]:
    """Distance to the first weights at the end of the run; None if it was not measured."""
    if not log.drift:
        return None
    last = log.drift[-1]
    return dict(mean=last['network'], stages=last['stages'], cka=last['cka'])


def machine(channels_last: bool = False) -> dict[str, Any]:
    """Versions, hardware and layout of memory that the figures belong to."""
    import torch

    gpu = torch.cuda.is_available()
    names = ('mmengine', 'mmcv', 'mmdet', 'mmrotate', 'mmbackbone_plugins')
    versions = {name: have for name in names for _, have in distributions(name)}
    return dict(
        python=platform.python_version(),
        torch=torch.__version__.split('+')[0],
        **versions,
        device=torch.cuda.get_device_name() if gpu else 'cpu',
        processor=processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        channels_last=channels_last,
    )


def processor() -> str:
    """Name of the processor, as Linux gives it."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        return next(
            line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
