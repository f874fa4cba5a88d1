"""Which batch fits into memory while which stages train, from steps that are measured."""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from mmengine.registry import OPTIMIZERS
from torch import nn

from ..freezing import FreezePlan, FrozenForward
from ..hooks.preflight import describe
from . import inputs
from .planning import RunPreview


def fitting_batches(
    preview: RunPreview,
    plan: FreezePlan,
    limit: float,
    batch: int = 1,
    device: str = 'cpu',
    ranks: int = 1,
) -> list[dict[str, Any]]:
    """The largest batch of each set of stages that a schedule trains, within ``limit`` bytes.

    What a step has allocated at once is measured with ``batch`` and with twice as many images, in
    FP32. It goes on in a straight line, or steeper: with few small images gradients are the most of
    it. So if more should fit, more are measured, as long as this machine has ``limit`` bytes.
    Weights, the optimizer's state of all that ever trains, and the copy of the gradients that
    ``DistributedDataParallel`` keeps are added.

    Returns:
        For each set, in the order of the run: ``trains`` in words, ``fixed_bytes``,
        ``bytes_per_image``, ``batch``, 0 where not one image fits, and ``measured_batch``, the
        largest that was measured.
    """
    model, freezer = preview.model.to(device), preview.freezer
    sets = list(dict.fromkeys(phase.trainable for phase in plan.phases(preview.length)))
    how = preview.hook.get('frozen_forward', 'exact')
    other = None
    if how != 'exact':
        other = FrozenForward(model, freezer.stage_map.targets, how, lambda text: None)

    def peak(images: int) -> int:
        print(f'memory: a step of {images} images', file=sys.stderr, flush=True)  # takes a while
        data = inputs.draw_batch(preview.cfg, model, preview.shape, images)
        return _peak(model, data, other, device)

    training = {}
    for trainable in sets:
        freezer.apply(trainable)
        training[trainable] = _bytes(p for p in model.parameters() if p.requires_grad)
    always = _bytes((*model.parameters(), *model.buffers()))
    always += _copies_of_state(preview.cfg) * max(training.values())
    rows = []
    for trainable in sets:
        freezer.apply(trainable)
        model.train()
        freezer.apply_modes()
        held = always + (training[trainable] if ranks > 1 else 0)
        few, many = batch, 2 * batch
        low, high = peak(few), peak(many)
        while True:
            slope = max((high - low) / (many - few), 1.0)
            fixed = held + high - many * slope
            fits = max(int((limit - fixed) // slope), 0)
            if fits <= many or limit > _room(device):
                break
            more = min(fits, 2 * many)
            try:
                few, low, many, high = many, high, more, peak(more)
            except torch.cuda.OutOfMemoryError:
                break
        rows.append(
            dict(
                trains=describe(trainable, freezer.stage_map.names),
                fixed_bytes=round(fixed),
                bytes_per_image=round(slope),
                batch=fits,
                measured_batch=many,
            )
        )
    freezer.restore()
    return rows


def _room(device: str) -> float:
    """Bytes that a step may take here."""
    if device != 'cpu':
        return torch.cuda.mem_get_info()[1]
    return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def peak_bytes(step: Callable[[], Any], device: str) -> int:
    """Most bytes that torch has allocated at once in a call, beyond what was there."""
    if device != 'cpu':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # By address, for torch's own total keeps what was taken in one profile and freed after it.
    taken: dict[int, int] = {}
    now = most = 0
    records = (e for e in trace(step) if e.get('name') == '[memory]')
    for record in sorted(records, key=lambda e: e['ts']):
        size, where = record['args']['Bytes'], record['args']['Addr']
        now += max(size, 0) - taken.pop(where, 0)
        if size > 0:
            taken[where] = size
        most = max(most, now)
    return most


def trace(step: Callable[[], Any]) -> list[dict[str, Any]]:
    """What torch records of a step on a CPU: operators, and memory that is taken or given back."""
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(path))
        return json.loads(path.read_text())['traceEvents']


def _peak(model: Any, data: Sequence[Any], other: Optional[FrozenForward], device: str) -> int:
    def step() -> None:
        if other is not None:
            other.drop()  # its weights are made in the step, where they are seen
        with other or nullcontext():
            model.parse_losses(model.loss(*data))[0].backward()

    step()  # the first makes what stays
    model.zero_grad()
    found = peak_bytes(step, device)
    model.zero_grad()
    return found + _bytes(data[:1])  # the images come from the preprocessor, in the step


def _copies_of_state(cfg: Any) -> float:
    """How often the optimizer of a run keeps the size of what it trains, beside the weights."""
    config = (cfg.get('optim_wrapper') or {}).get('optimizer')
    if config is None:  # several, made by a constructor of their own
        return 2.0
    parameter = nn.Parameter(torch.zeros(8, 8))
    optimizer = OPTIMIZERS.build(config, default_args=dict(params=[parameter]))
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = optimizer.state[parameter].values()
    return sum(v.numel() for v in state if isinstance(v, torch.Tensor) and v.dim()) / 64


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
