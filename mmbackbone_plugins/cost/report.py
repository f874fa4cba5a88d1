"""Costs as text: of one run, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..utils.text import duration_text, some, table
from .ledger import Ledger

_UNITS = ((1e18, 'EFLOPs'), (1e15, 'PFLOPs'), (1e12, 'TFLOPs'), (1e9, 'GFLOPs'), (1e6, 'MFLOPs'))
_SHOWN = 8  # names of operators in a table; the JSON has all


def flops_text(value: Optional[float], digits: int = 3) -> str:
    """FLOPs in the unit that suits them; ``-`` for None."""
    if value is None:
        return '-'
    for size, unit in _UNITS:
        if value >= size:
            return f'{value / size:,.{digits}g} {unit}' if value < 1e21 else f'{value:.2e} FLOPs'
    return f'{value:,.0f} FLOPs'


def operators_text(calls: Mapping[str, int]) -> str:
    """Names of operators with their calls, custom ones first."""
    custom = [f'{name} x {n}' for name, n in calls.items() if not name.startswith('aten.')]
    own = [name.partition('.')[2] for name in calls if name.startswith('aten.')]
    words = [', '.join(custom) or 'no custom operators']
    if own:
        words.append(f"torch's own: {some(own, _SHOWN)}")
    return '; '.join(words)


def cost_text(ledger: Ledger) -> str:
    """What a run cost: a line per phase, the total, and what is not in it."""
    full, totals = ledger.full_training_flops, ledger.totals()
    full_step = full / ledger.steps if full and ledger.steps else None
    rows: list[Sequence[str]] = [
        (
            *('phase', 'steps', 'FLOPs/step', 'forward', 'of full', 'FLOPs', 's/step'),
            *('data s/step', 'peak MB', 'MB sent/step', 'parameters that train'),
        )
    ]
    for phase in ledger.phases.values():
        steps = max(phase.steps, 1)
        forward = None if phase.forward_flops is None else phase.forward_flops / steps
        share = phase.step_flops / full_step if phase.step_flops and full_step else None
        rows.append(
            (
                phase.name,
                f'{phase.steps:,}',
                flops_text(phase.step_flops),
                flops_text(forward),
                _percent(share),
                flops_text(phase.flops),
                f'{phase.step_seconds / steps:.3f}',
                f'{phase.data_seconds / steps:.3f}',
                _megabytes(phase.peak_memory),
                f'{phase.communicated_bytes / steps / 1e6:,.2f}',
                f'{phase.trainable_parameters:,} '
                f'({phase.trainable_parameters / max(ledger.parameters, 1):.1%})',
            )
        )
    lines = [
        f'{table(rows)}\n',
        f'total: {ledger.steps:,} steps, {flops_text(totals["training_flops"])}, '
        f'{duration_text(totals["step_seconds"])} of training, '
        f'{duration_text(totals["data_seconds"])} of waiting for data, '
        f'{duration_text(ledger.validation_seconds)} of validation',
    ]
    if ledger.saving is not None:
        saved = f'saved {ledger.saving:.1%} of its FLOPs'
        lines.append(f'full fine-tuning: {flops_text(full)}; {saved}')
    if ledger.measuring_flops:
        lines.append(f'of the total, to measure a signal: {flops_text(ledger.measuring_flops)}')
    if ledger.features_read_bytes:
        lines.append(f'features read, not computed: {ledger.features_read_bytes / 1e9:.2f} GB')
    if ledger.memory_kind:
        lines.append(f'memory: peak of {ledger.memory_kind}')
    if ledger.uncounted_ops:
        lines.append(f'in no FLOPs, in one step: {operators_text(ledger.uncounted_ops)}')
    if (lost := ledger.lost).steps:
        lines.append(
            f'lost to restarts, not in the total: {lost.steps:,} steps, {flops_text(lost.flops)}, '
            f'{duration_text(lost.seconds)}'
        )
    if ledger.unrecorded_steps:
        lines.append(f'without a record: the first {ledger.unrecorded_steps:,} iterations')
    return '\n'.join([*lines, *ledger.notes])


def side_by_side(ledgers: Mapping[str, Ledger]) -> str:
    """Totals of several runs, a line each."""
    rows = [('run', 'steps', 'FLOPs', 'full', 'saved', 'training', 'data', 'peak MB', 'GB sent')]
    for name, ledger in ledgers.items():
        found: dict[str, Any] = ledger.totals()
        rows.append(
            (
                name,
                f'{found["steps"]:,}',
                flops_text(found['training_flops']),
                flops_text(found['full_training_flops']),
                _percent(found['saving']),
                duration_text(found['step_seconds']),
                duration_text(found['data_seconds']),
                _megabytes(found['peak_memory']),
                f'{found["communicated_bytes"] / 1e9:,.2f}',
            )
        )
    return table(rows)


def _percent(share: Optional[float]) -> str:
    return '-' if share is None else f'{share:.1%}'


def _megabytes(size: Optional[int]) -> str:
    return '-' if size is None else f'{size / 2**20:,.0f}'
