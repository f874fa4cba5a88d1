"""Decides before an epoch which stages train, where a schedule leaves that to a signal."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Optional, cast

from mmengine import dist
from mmengine.logging import print_log

from ..cost.plan import count_steps
from ..distortion.anchor import Anchor
from ..distortion.drift import weight_drift
from ..distortion.learning_rates import norm_parameters, unit_rgn
from ..freezing.budget import EpochBudget
from ..freezing.freezer import Freezer
from ..freezing.plan import FreezePlan
from ..utils.sampling import SeededBatches, images_in_batch
from ..utils.wrappers import unwrap
from .anchors import find_anchor, save_anchor
from .checkpoint_keys import DECISIONS_KEY
from .jsonl import JsonLines
from .measured_rgn import MeasuredRGN


class EpochDecisions:
    """The decisions of a :class:`BudgetedFreezing` in a run.

    What an epoch costs by the number of stages that train is counted once, in a fresh run, on a
    batch of the training data. The first process decides for all. Made in ``before_train`` of the
    ``hook``, a FreezingSchedulerHook with plan and freezer. A ValueError if the budget does not pay
    for a frozen run, or the ``checkpoint`` to resume from is of a run that decided nothing.
    """

    def __init__(self, runner, hook: Any, checkpoint: Optional[dict[str, Any]] = None) -> None:
        self._plan: FreezePlan = hook.plan
        schedule: Any = self._plan.schedule
        self._schedule = schedule
        self._model = unwrap(runner.model)
        saved = None if checkpoint is None else checkpoint.get(DECISIONS_KEY)
        if checkpoint is not None and saved is None:
            raise ValueError(
                f'schedule: the checkpoint to resume from was written without {schedule!r}, which '
                'has to know what it spent; start afresh with load_from'
            )
        # What the model keeps frozen by itself trains never, and has no signal.
        allowed = {id(p) for p in hook.freezer.parameters_of(self._plan.ruled)}
        named = self._model.named_parameters()
        self._parameters = {n: p for n, p in named if id(p) in allowed}
        self.anchor: Optional[Anchor] = None  # where the signal is the drift from it
        self._rgn: Optional[MeasuredRGN] = None
        if schedule.signal == 'rgn':
            self._rgn = MeasuredRGN(runner, self._parameters, schedule.num_batches, frozen=True)
        else:
            self.anchor = find_anchor(runner, hook, self._model, self._parameters, checkpoint)
        costs, measuring = saved['costs'] if saved else self._count(runner, hook.freezer)
        self.budget = EpochBudget(costs, schedule.budget, runner.max_epochs, measuring)
        schedule.decisions[:] = saved['decisions'] if saved else []
        self._lines = JsonLines(runner, 'decisions.jsonl')

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Adds to a checkpoint what a resumed run has to know."""
        checkpoint[DECISIONS_KEY] = dict(
            costs=(self.budget.costs, self.budget.measuring),
            decisions=list(self._schedule.decisions),
        )
        if self.anchor is not None:
            save_anchor(checkpoint, self.anchor)

    def decide(self, runner) -> None:
        """Decides this epoch, if that has not been done."""
        schedule, budget = self._schedule, self.budget
        before = list(schedule.decisions)
        if runner.epoch < len(before):
            return
        ruled = self._plan.ruled
        signal = self._signal(runner) if before else None
        found = None if signal is None else [signal[stage] for stage in ruled]
        answer = [budget.choose(before, found, schedule.sign)]
        dist.broadcast_object_list(answer)
        schedule.decisions.append(answer[0])
        chosen = ruled[len(ruled) - answer[0] :]
        affordable = ruled[len(ruled) - budget.affordable(before) :]
        spent = budget.spent(schedule.decisions)
        self._lines.write(
            dict(
                iter=runner.iter + 1,  # from this iteration on
                epoch=runner.epoch + 1,
                trains=chosen,
                affordable=affordable,
                signal=signal,
                spent=spent,
                ceiling=budget.ceiling,
            )
        )
        share = spent / budget.ceiling
        print_log(
            f'FreezingSchedulerHook: epoch {runner.epoch + 1} trains {_listed(chosen)} '
            f'(affordable: {_listed(affordable)}); with it {share:.1%} of the budget is spent',
            logger='current',
        )

    def _signal(self, runner) -> dict[str, float]:
        """The signal by stage; NaN of a stage without one."""
        units = {n: self._plan.stage_map.stage_of(n) for n in self._parameters}
        if self._rgn is not None:
            found = unit_rgn(self._rgn(runner.epoch), units, norm_parameters(self._model))
        else:
            stages: dict[str, list[str]] = {}
            for name, stage in units.items():
                stages.setdefault(stage, []).append(name)
            found = weight_drift(self._parameters, cast(Anchor, self.anchor).tensors, stages)
        return {stage: found.get(stage, math.nan) for stage in self._plan.ruled}

    def _count(self, runner, freezer: Freezer) -> tuple[list[int], int]:
        """FLOPs of an epoch by the number of stages that train, and of measuring a signal."""
        loader = runner.train_dataloader
        batch = next(iter(SeededBatches(loader, self._model, num_batches=1)))
        ruled = self._plan.ruled
        sets = [frozenset(ruled[k:]) | self._plan.free for k in range(len(ruled), -1, -1)]
        data = (batch['inputs'], batch['data_samples'])
        _, flops = count_steps(self._model, data, freezer, sets)
        # The last batch may be smaller.
        images = min(len(loader) * images_in_batch(loader), len(loader.sampler))
        images *= dist.get_world_size()
        # Of equal work; that more stages cost less could only be the counter's rounding.
        costs = list(accumulate((flops[s].total * images for s in sets), max))
        passes = flops[sets[-1]].total * self._rgn.images if self._rgn else 0
        return costs, passes


def _listed(stages: Sequence[str]) -> str:
    return ', '.join(stages) or 'no stage'
