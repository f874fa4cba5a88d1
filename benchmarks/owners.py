"""Who holds the memory that is taken at the peak of a training step, on a CPU."""

from collections import defaultdict
from contextlib import ExitStack
from typing import Any, Callable
from unittest import mock

import torch

from mmbackbone_plugins.lab.fitting import trace

PARTS = {
    ('backbone', 'forward'): 'backbone',
    ('neck', 'forward'): 'neck',
    ('bbox_head', 'forward'): 'head',
    ('bbox_head', 'loss'): 'loss',
}


def owners_at_peak(model, optimizer, step: Callable[[], Any]) -> dict[str, float]:
    """Megabytes by owner, from torch's records of what is allocated and freed.

    What a part (backbone, neck, head, loss) has allocated in its forward pass is an activation
    of that part; outputs of the backbone and gradients of parameters are known by their address. A
    workspace is given back before the outermost operator that took it ends.
    """
    outputs: set[int] = set()
    weights: set[int] = set()

    def address(tensor: torch.Tensor) -> int:
        return tensor.untyped_storage().data_ptr()

    def mark(name: str, method: Callable) -> Callable:
        def marked(*args, **kwargs):
            with torch.profiler.record_function(f'part {name}'):
                found = method(*args, **kwargs)
            if name == 'backbone':
                outputs.update(address(t) for t in found)
            return found

        return marked

    def note(*_) -> None:
        parameters = (p for group in optimizer.param_groups for p in group['params'])
        weights.update(address(p.grad) for p in parameters if p.grad is not None)

    with ExitStack() as undo:
        for (module, method), name in PARTS.items():
            part = getattr(model, module)
            marked = mark(name, getattr(part, method))
            undo.enter_context(mock.patch.object(part, method, marked))
        undo.callback(optimizer.register_step_pre_hook(note).remove)
        events = trace(step)

    records = sorted((e for e in events if e.get('name') == '[memory]'), key=lambda e: e['ts'])
    peak = max(range(len(records)), key=lambda i: records[i]['args']['Total Allocated'])
    spans = [
        e for e in events if e.get('ph') == 'X' and e.get('cat') in ('cpu_op', 'user_annotation')
    ]
    parts = [s for s in spans if s['name'].startswith('part ')]
    operators = [s for s in spans if s.get('cat') == 'cpu_op']
    live: dict[int, dict] = {}
    freed: dict[int, float] = {}  # of the allocations that are live at the peak
    for number, record in enumerate(records):
        where = record['args']['Addr']
        if number > peak:
            if record['args']['Bytes'] < 0:
                freed.setdefault(where, record['ts'])
        elif record['args']['Bytes'] > 0:
            live[where] = record
        else:
            live.pop(where, None)
    megabytes: dict[str, float] = defaultdict(float)
    for where, record in live.items():
        owner = _owner(record['ts'], freed.get(where), parts, operators)
        if where in outputs and owner == 'backbone':
            owner = 'outputs of the backbone'
        elif where in weights and owner == 'backward':
            owner = 'gradients of weights'
        megabytes[owner] += record['args']['Bytes'] / 1e6
    return {name: round(size, 1) for name, size in sorted(megabytes.items(), key=lambda i: -i[1])}


def _owner(taken: float, freed, parts: list[dict], operators: list[dict]) -> str:
    def around(spans: list[dict]) -> list[dict]:
        return [s for s in spans if s['ts'] <= taken <= s['ts'] + s['dur']]

    outermost = max(around(operators), key=lambda s: s['dur'], default=None)
    if freed and outermost and freed <= outermost['ts'] + outermost['dur']:
        return 'workspaces'
    part = min(around(parts), key=lambda s: s['dur'], default=None)
    return part['name'].removeprefix('part ') if part else 'backward'
