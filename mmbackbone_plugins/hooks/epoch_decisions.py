"""Decides before an epoch which stages train, where a schedule leaves that to a signal."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Optional, cast

from mmengine import dist
from mmengine.logging import print_log
from torch import nn

from ..cost.plan import count_steps
from ..distortion.anchor import Anchor
from ..distortion.drift import weight_drift
from ..distortion.learning_rates import norm_parameters, unit_rgn
from ..freezing.budget import EpochBudget
from ..freezing.freezer import Freezer
from ..freezing.plan import FreezePlan
from ..utils.sampling import SeededBatches
from ..utils.wrappers import unwrap
from .checkpoint_keys import ANCHOR_KEY, DECISIONS_KEY
from .jsonl import JsonLines
from .measured_rgn import MeasuredRGN


class EpochDecisions:
    """The decisions of a :class:`BudgetedFreezing` in a run.

    What an epoch costs by the number of stages that train is counted once, in a fresh run, on a
    batch of the training data. The first process decides for all.

    Args:
        runner: The runner, in ``before_train``.
        plan: The schedule over its stages.
        freezer: Freezes them; left as it was.
        checkpoint: That of the run that is resumed; None in a fresh run.

    Attributes:
        budget: What epochs cost and may cost, in FLOPs.

    Raises:
        ValueError: If the run has no epochs, the budget does not pay for a frozen run, or the
            checkpoint is of a run that decided nothing.
    """

    def __init__(
        self,
        runner,
        plan: FreezePlan,
        freezer: Freezer,
        checkpoint: Optional[Mapping[str, Any]] = None,
    ) -> None:
        schedule: Any = plan.schedule
        self._plan, self._schedule = plan, schedule
        self._model = unwrap(runner.model)
        saved = None if checkpoint is None else checkpoint.get(DECISIONS_KEY)
        if checkpoint is not None and saved is None:
            raise ValueError(
                f'schedule: the checkpoint to resume from was written without {schedule!r}, which '
                'has to know what it spent; start afresh with load_from'
            )
        costs, measuring = saved['costs'] if saved else self._count(runner, freezer)
        self.budget = EpochBudget(costs, schedule.budget, runner.max_epochs, measuring)
        schedule.decisions[:] = saved['decisions'] if saved else []
        parameters = self._parameters()
        self._anchor: Optional[Anchor] = None
        self._rgn: Optional[MeasuredRGN] = None
        if schedule.signal == 'rgn':
            self._rgn = MeasuredRGN(runner, parameters, schedule.num_batches, frozen=True)
        else:
            names, theta0 = list(parameters), (checkpoint or {}).get(ANCHOR_KEY)
            self._anchor = (
                Anchor.load(theta0, self._model, names) if theta0 else Anchor.of(self._model, names)
            )
        self._lines = JsonLines(runner, 'decisions.jsonl')

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Adds to a checkpoint what a resumed run has to know."""
        checkpoint[DECISIONS_KEY] = dict(
            costs=(self.budget.costs, self.budget.measuring),
            decisions=list(self._schedule.decisions),
        )
        if self._anchor is not None:
            checkpoint.setdefault(ANCHOR_KEY, {}).update(self._anchor.save())

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
                iter=runner.iter,
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

    def _parameters(self) -> dict[str, nn.Parameter]:
        named = dict(self._model.named_parameters())
        stages = (self._plan.stage_map[stage] for stage in self._plan.ruled)
        return {name: named[name] for stage in stages for name in stage.parameters}

    def _signal(self, runner) -> dict[str, float]:
        """The signal by stage; NaN of a stage without one."""
        stages = {s: self._plan.stage_map[s].parameters for s in self._plan.ruled}
        if self._rgn is None:
            return weight_drift(self._parameters(), cast(Anchor, self._anchor).tensors, stages)
        units = {name: stage for stage, names in stages.items() for name in names}
        found = unit_rgn(self._rgn(runner.epoch), units, norm_parameters(self._model))
        return {stage: found.get(stage, math.nan) for stage in stages}

    def _count(self, runner, freezer: Freezer) -> tuple[list[int], int]:
        """FLOPs of an epoch by the number of stages that train, and of measuring a signal."""
        loader = runner.train_dataloader
        batch = next(iter(SeededBatches(loader, self._model, num_batches=1)))
        ruled = self._plan.ruled
        sets = [frozenset(ruled[k:]) | self._plan.free for k in range(len(ruled), -1, -1)]
        data = (batch['inputs'], batch['data_samples'])
        _, flops = count_steps(self._model, data, freezer, sets)
        images = len(loader) * loader.batch_size * dist.get_world_size()
        # Of equal work; that more stages cost less could only be the counter's rounding.
        costs = list(accumulate((flops[s].total * images for s in sets), max))
        passes = 0
        if self._schedule.signal == 'rgn':
            images = self._schedule.num_batches * dist.get_world_size() * loader.batch_size
            passes = flops[sets[-1]].total * images
        return costs, passes


def _listed(stages: Sequence[str]) -> str:
    return ', '.join(stages) or 'no stage'
