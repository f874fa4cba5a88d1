"""The hook that gives every stage a learning rate by its relative gradient norm."""

import logging
import math
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ..distortion.learning_rates import BY, norm_parameters, rate_factors, unit_rgn, units_of
from ..utils.checks import choice, is_number
from ..utils.names import arguments_by_name
from .checks import check_count
from .gradient_hook import GradientHook
from .jsonl import JsonLines
from .measured_rgn import MeasuredRGN


@HOOKS.register_module()
@arguments_by_name()
class RGNLearningRateHook(GradientHook):
    """Auto-RGN: the learning rate of a stage follows its relative gradient norm (RGN).

    Every ``interval`` epochs, and when other stages begin to train, the RGN is measured in
    ``num_batches`` batches without a step and without a trace; w is that of a stage (mean over its
    tensors without norms) or tensor. The factor is ``w / max w`` (``sign=+1``: who is pulled most
    trains most) or ``min w / w`` (``sign=-1``: trains least), and at least ``floor``. Norms have
    the factor of their stage, with ``by='tensor'`` 1; the rest of the model and added blocks
    have 1.

    The rate of a group is multiplied right before the optimizer's step and put back right after it,
    so that schedulers, the logged rate and checkpoints never see it. Parameters of one group must
    therefore have one factor: ``constructor='StageOptimWrapperConstructor'`` makes one group a
    stage. In an iteration loop an epoch is as many iterations as the training loader is long.

    Scalars ``rgn_lr/<stage>``: the factors (``by='tensor'``: their mean over the stage).
    ``rgn_lr.jsonl`` in the log folder of the run's first start has all of them.

    Source: Surgical Fine-Tuning, ICLR 2023, Auto-RGN (``sign=+1, by='tensor'``); the authors make
    the optimizer anew every epoch, without norms. ``sign=-1`` is the opposite claim, of "Mind the
    Backbone", arXiv 2303.14744; as a learning rate it is our reading.

    Args:
        sign: ``+1`` or ``-1``.
        by: ``'stage'`` or ``'tensor'``.
        interval: Epochs from one measurement to the next.
        num_batches: Batches a process to measure in; new ones each time.
        floor: The least factor, from 0 to 1.
        target: Dotted path of the module whose rates are changed, or a list of paths.
        seed: Chooses the images and their augmentation.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if a group has
            parameters of different factors, there is a second hook of this kind, or gradients are
            sharded.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='RGNLearningRateHook', sign=1)]
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='SGD', lr=0.01), constructor='StageOptimWrapperConstructor'
        ... )
    """

    # After FreezingSchedulerHook has decided what trains; before DistortionRegularizerHook, whose
    # limit is that of the rate that the step is made with.
    priority = 45

    def __init__(
        self,
        sign: int = 1,
        by: str = 'stage',
        interval: int = 1,
        num_batches: int = 5,
        floor: float = 0.0,
        target: Union[str, Sequence[str]] = 'backbone',
        seed: int = 0,
    ) -> None:
        super().__init__(target)
        if isinstance(sign, bool) or sign not in (1, -1):
            raise ValueError(f'sign must be +1 or -1, got {sign!r}')
        if not is_number(floor, 0, 1):
            raise ValueError(f'floor must be a number from 0 to 1, got {floor!r}')
        self.sign, self.floor = int(sign), float(floor)
        self.by = choice('by', by, BY)
        self.interval = check_count('interval', interval)
        self.num_batches = check_count('num_batches', num_batches)
        self.seed = check_count('seed', seed, least=0)
        self.factors: dict[str, float] = {}

    # -- when ------------------------------------------------------------------------------------

    def before_train(self, runner) -> None:
        """Checks the groups, and takes up the factors of a run that is resumed."""
        if any(isinstance(h, RGNLearningRateHook) and h is not self for h in runner.hooks):
            raise ValueError(
                'custom_hooks: there are two RGNLearningRateHooks, which would both multiply the '
                'learning rate; use one with a list of targets'
            )
        model = self._find_target(runner, 'rgn_lr')
        self._units = units_of(model, self.stage_map, self.by)
        self._norms = norm_parameters(model)
        names = {id(p): n for n, p in model.named_parameters()}
        self._groups: dict[int, list[tuple[dict, str]]] = {}
        self._rates: list[tuple[dict, Any]] = []  # of the groups that are changed in this step
        for wrapper in self._listen():
            groups = wrapper.optimizer.param_groups
            self._groups[id(wrapper)] = [
                (g, unit) for i, g in enumerate(groups) if (unit := self._unit(i, g, names))
            ]
        self._rgn = MeasuredRGN(runner, self._parameters, self.num_batches)
        self._file = JsonLines(runner, 'rgn_lr.jsonl')
        kept = runner.message_hub.get_info('mmbackbone/rgn_lr') if runner._resume else None
        self.factors, self._trained, self._epoch = {}, None, None
        if kept:
            self.factors, self._trained = dict(kept['factors']), list(kept['trained'])
            self._epoch = kept['epoch']

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Measures at an epoch's beginning, and when other stages train than at the last time."""
        epoch = runner.epoch  # not by iterations, of which other numbers of ranks make others
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            epoch = runner.iter // len(runner.train_dataloader)
        trained = [stage for stage in self.stage_map.names if self._trains(stage)]
        due = epoch % self.interval == 0 and epoch != self._epoch
        if due or trained != self._trained:
            self._trained, self._epoch = trained, epoch
            self._measure(runner, epoch)

    def on_step(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """Multiplies the learning rates."""
        for group, unit in self._groups[id(wrapper)]:
            factor = self.factors.get(unit, 1.0)
            if factor != 1:
                self._rates.append((group, group['lr']))
                group['lr'] = group['lr'] * factor

    def after_step(self, wrapper: OptimWrapper, skipped: Any) -> None:
        """Puts them back."""
        for group, rate in self._rates:
            group['lr'] = rate
        self._rates = []

    # -- what ------------------------------------------------------------------------------------

    def _measure(self, runner, epoch: int) -> None:
        if not self._trained:
            return
        rgn = unit_rgn(self._rgn(self.seed + 100_003 * epoch), self._units, self._norms)
        broken = [unit for unit, w in rgn.items() if not math.isfinite(w)]
        if broken:
            print_log(
                f'RGNLearningRateHook: the RGN of {broken[0]!r} is NaN or Inf; the factors stay',
                logger='current',
                level=logging.WARNING,
            )
            return
        self.factors = rate_factors(rgn, self.sign, self.floor)
        stages = {n: self.stage_map.stage_of(n) for n in self._units}
        found = {n: self.factors[unit] for n, unit in self._units.items() if unit in self.factors}
        means = unit_rgn(found, stages)  # by the rule of a stage's RGN, norms too
        self._scalars.remove([n for n in self._scalars.names if n not in means])
        self._scalars.update(means)
        place = dict(iter=runner.iter + 1, epoch=epoch + 1)  # from this iteration on
        self._file.write(dict(**place, rgn=rgn, factors=self.factors))
        shown = ', '.join(f'{stage} {mean:.3g}' for stage, mean in means.items())
        print_log(f'RGNLearningRateHook: factors of learning rates: {shown}', logger='current')
        kept = dict(factors=self.factors, trained=self._trained, epoch=epoch)
        runner.message_hub.update_info('mmbackbone/rgn_lr', kept)

    def _unit(self, number: int, group: dict, names: dict[int, str]) -> Optional[str]:
        """The unit of a group; None if its rate is not changed."""
        inside = [names[id(p)] for p in group['params'] if id(p) in names]
        units = list(dict.fromkeys(self._units.get(n) for n in inside))
        if len(units) < 2:
            return units[0] if units else None
        targets = [self.target] if isinstance(self.target, str) else self.target
        keys = {target: dict(lr_mult=1.0) for target in targets}
        shown = ' and '.join('the rest' if u is None else repr(u) for u in units[:2])
        more = f' and {len(units) - 2} more' if len(units) > 2 else ''
        stages = ''
        if self.by == 'stage':
            stages = (
                "optim_wrapper=dict(constructor='StageOptimWrapperConstructor'), one group a "
                'stage, or by '
            )
        raise ValueError(
            f'RGNLearningRateHook: group {number} of the optimizer holds parameters of {shown}'
            f'{more}, whose learning rates differ. Split it by {stages}'
            f'optim_wrapper=dict(paramwise_cfg=dict(custom_keys={keys!r})), one group a parameter'
        )
