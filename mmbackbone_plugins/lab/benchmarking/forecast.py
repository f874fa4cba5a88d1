"""What a plan will cost, before it starts."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ...cost import flops_text
from ...utils.text import duration_text, table
from .. import planning
from .folder import RunFolder
from .plan import Run


@dataclass(frozen=True)
class Forecast:
    """Training FLOPs of runs."""

    flops: dict[str, Optional[float]]  # by run; None where a run's FLOPs cannot be counted here
    why: dict[str, str]  # why not, by run


def forecast(runs: Sequence[Run], report: Callable[[str], None] = print) -> Forecast:
    """Counts a step of every distinct phase of every distinct config; seeds share their numbers."""
    known: dict[str, Any] = {}
    flops: dict[str, Optional[float]] = {}
    why: dict[str, str] = {}
    for run in runs:
        if run.after:
            flops[run.name] = 0.0  # the training of another run
            continue
        key = run.training_key
        if key not in known:
            report(f'counting {run.dataset}/{run.detector}/{run.method}')
            known[key] = _count(run)
        flops[run.name], reason = known[key]
        if reason:
            why[run.name] = reason
    return Forecast(flops, why)


def _count(run: Run) -> tuple[Optional[float], Optional[str]]:
    try:
        preview = planning.preview_run(run.config, deepcopy(dict(run.options)))
        if preview.images is None:
            return None, 'its training set is not here'
        return preview.plan_costs()[0].training_flops * preview.images, None
    except Exception as error:  # a forecast must not stop a plan that may well run
        return None, f'{type(error).__name__}: {str(error).splitlines()[0]}'


def plan_table(folders: Sequence[RunFolder], found: Forecast) -> str:
    """The runs, their state, what they will cost, and what they have."""
    rows = [('run', 'state', 'training FLOPs', 'seconds in steps')]
    speed = []
    for folder in folders:
        seconds = ''
        flops = found.flops[folder.run.name]
        if folder.state == 'finished':
            cost = folder.result().cost
            if cost.get('seconds') and cost.get('flops'):
                seconds = duration_text(cost['seconds'])
                speed.append(cost['flops'] / cost['seconds'])
        rows.append((folder.run.name, folder.state, flops_text(flops), seconds))
    counted = [f for f in found.flops.values() if f is not None]
    lines = [table(rows), f'{len(folders)} runs, {flops_text(sum(counted))} to train']
    if len(counted) < len(folders):
        reason = next(iter(found.why.values()))
        lines.append(f'not counted: {len(folders) - len(counted)} runs; the first: {reason}')
    waiting = [found.flops[f.run.name] for f in folders if f.state != 'finished']
    waiting = [flops for flops in waiting if flops is not None]
    if speed and waiting:
        mean = sum(speed) / len(speed)
        lines.append(
            f'at the {flops_text(mean)} a second of the finished runs the others take '
            f'{duration_text(sum(waiting) / mean)} in training steps, one after the other'
        )
    return '\n'.join(lines)
