"""Finished runs that are trained a second time: whether one seed gives the same bits here."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...utils import checkpoints
from ...utils.files import write_json
from .folder import REPEATS, RunFolder
from .plan import Plan

FILE = 'repeat.json'  # in the folder of the second training


def repeats(plan: Plan, patterns: Iterable[str]) -> list[RunFolder]:
    """The folders in which finished runs are trained again, beside the first; nothing is made.

    Raises:
        ValueError: If a run is not finished, was run with another config, or has no training of
            its own.
        FileNotFoundError: If its last checkpoint is not there any more.
    """
    runs = plan.only(patterns, '--repeat')
    for run in runs:
        first = RunFolder.of(plan, run)
        if run.after:
            other = run.after['training']
            raise ValueError(f'--repeat: {run.name} uses the training of {other!r}: repeat that')
        if first.state != 'finished':
            raise ValueError(
                f'--repeat: {run.name} is not finished, there is nothing to compare with: run it '
                'first'
            )
        first.check()
        checkpoints.check(_checkpoint(first))
    return [RunFolder.of(plan, run, REPEATS) for run in runs]


def compare_repeats(plan: Plan) -> None:
    """Compares every second training that is finished with the first, once.

    Raises:
        FileNotFoundError: If a checkpoint is not there any more.
        ValueError: If one cannot be read.
    """
    for run in plan.runs:
        folders = [RunFolder.of(plan, run), RunFolder.of(plan, run, REPEATS)]
        path = folders[1].path / FILE
        if any(folder.state != 'finished' for folder in folders):
            continue
        ended = [folder.result().finished for folder in folders]
        if not path.is_file() or json.loads(path.read_text(encoding='utf-8'))['ended'] != ended:
            found = dict(run=run.name, ended=ended, **_compare(*folders))
            write_json(path, found)


def load_repeats(work_dir: Path) -> list[dict[str, Any]]:
    """What came out of all comparisons: numbers of tensors, scores, machine; in order of names."""
    paths = sorted(work_dir.glob(f'{REPEATS}/*/*/*/*/{FILE}'))
    return [json.loads(path.read_text(encoding='utf-8')) for path in paths]


def repeat_text(found: Mapping[str, Any]) -> str:
    """One comparison in words."""
    machine = found['machine']
    where = machine['processor'] if machine['device'] == 'cpu' else machine['device']
    bits, scores = 'the same bits' if not found['differ'] else 'other bits', 'no score'
    if found['mAP']:
        scores = f'mAP by up to {100 * found["mAP"]:.2g} points'
    elif not found['same_scores']:
        scores = 'scores, but not mAP'
    text = f'{found["run"]} gave {bits} ({found["differ"]} of {found["tensors"]} tensors differ, '
    text += f'{scores}), on {where}, torch {machine["torch"]}'
    changed = ', '.join(f'{key} {value}' for key, value in found['first_machine'].items())
    return f'{text}; the first run had {changed}' if changed else text


def _checkpoint(folder: RunFolder) -> Path:
    return folder.path / str(folder.result().checkpoint)


def _compare(*folders: RunFolder) -> dict[str, Any]:
    paths = map(_checkpoint, folders)
    a, b = (checkpoints.weights_of(checkpoints.read(path), str(path)) for path in paths)
    names = list({**a, **b})
    differ = [name for name in names if not (name in a and name in b and _same(a[name], b[name]))]
    first, second = (folder.result() for folder in folders)
    return dict(
        tensors=len(names),
        differ=len(differ),
        first_names=differ[:5],
        same_scores=first.scores == second.scores,
        mAP=max(
            [abs(s['mAP'] - second.scores[n]['mAP']) for n, s in first.scores.items()], default=0
        ),
        machine=second.machine,
        first_machine={k: v for k, v in first.machine.items() if second.machine.get(k) != v},
    )


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit: a NaN equals itself, and zeros of two signs differ."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (a, b)))
