"""Which batch fits into memory while which stages train, from steps that are measured."""

import json
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
    FP32, and is taken to go on in a straight line, so a batch near the one in question is best.
    Weights, the optimizer's state of all that ever trains, and the copy of the gradients that
    ``DistributedDataParallel`` keeps are added.

    Returns:
        For each set, in the order of the run: ``trains`` in words, ``fixed_bytes``,
        ``bytes_per_image``, and ``batch``, 0 where not one image fits.
    """
    model = preview.model.to(device)
    sets = list(dict.fromkeys(phase.trainable for phase in plan.phases(preview.length)))
    how = preview.hook.get('frozen_forward', 'exact')
    other = None
    if how != 'exact':
        targets = preview.freezer.stage_map.targets
        other = FrozenForward(model, targets, how, lambda text: None)
    data = [inputs.draw_batch(preview.cfg, model, preview.shape, n) for n in (batch, 2 * batch)]
    copies = _copies_of_state(preview.cfg)
    always, rows, peaks = 0.0, [], []
    for trainable in sets:
        preview.freezer.apply(trainable)
        model.train()
        preview.freezer.apply_modes()
        if other is not None:
            other.drop()
        small, large = (_peak(model, d, other, device) for d in data)
        training = _bytes(p for p in model.parameters() if p.requires_grad)
        always = max(always, copies * training)
        peaks.append((small, max((large - small) / batch, 1.0), training))
    preview.freezer.restore()
    weights = _bytes((*model.parameters(), *model.buffers()))
    for trainable, (small, slope, training) in zip(sets, peaks):
        fixed = weights + always + small - batch * slope + (training if ranks > 1 else 0)
        rows.append(
            dict(
                trains=describe(trainable, preview.freezer.stage_map.names),
                fixed_bytes=round(fixed),
                bytes_per_image=round(slope),
                batch=max(int((limit - fixed) // slope), 0),
            )
        )
    return rows


def peak_bytes(step: Callable[[], Any], device: str) -> int:
    """Most bytes that torch has allocated at once in a call, beyond what was there."""
    if device != 'cpu':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    records = (e for e in trace(step) if e.get('name') == '[memory]')
    return max((e['args']['Total Allocated'] for e in records), default=0)


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
        with other or nullcontext():
            model.parse_losses(model.loss(*data))[0].backward()

    step()  # the first makes what stays
    model.zero_grad()
    found = peak_bytes(step, device)
    model.zero_grad()
    return found


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
