"""The hook that measures how hard the loss pulls each part of the backbone."""

import logging
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from ..distortion.rgn import GRANULARITIES, Deferred, measure, read
from ..distortion.table import RGNTable, frozen_stages, kinds_of
from ..utils.checks import choice
from ..utils.names import arguments_by_name
from .checks import check_count
from .gradient_hook import GradientHook
from .jsonl import JsonLines


@HOOKS.register_module()
@arguments_by_name()
class RGNHook(GradientHook):
    """Measures the relative gradient norm (RGN) of the target, stage by stage, while it trains.

    Gradients are those that the step is made of: accumulated, averaged over ranks, unscaled, and
    not yet clipped. Training is not changed by a bit.

    Scalars are ``rgn/<stage>`` (mean over the stage's tensors), ``rgn/mean`` (over all tensors) and
    ``rgn/skipped_steps``, those that a loss scaler skipped. A frozen stage has no scalar, never a
    zero. ``rgn.jsonl`` in the log folder of the run's first start has all stages, layers and
    tensors. A second hook of this kind in one run says ``rgn-<target>`` instead of ``rgn``.

    Source: "Mind the Backbone", arXiv 2303.14744. There RGN is measured once, before fine-tuning
    (``tools/analysis_tools/measure_rgn.py``); following it along the run is our reading.

    Args:
        target: Dotted path of the module to measure, or a list of paths.
        interval: Optimizer steps from one measurement to the next; the first step is measured.
        granularity: ``'tensor'``: L2 norm of the gradient over L2 norm of the parameter.
            ``'kernel'``: mean of ratios of absolute values per kernel, as the authors' code.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if the target does
            not exist or the run hides its gradients (FSDP, DeepSpeed).

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='RGNHook', interval=50)]
    """

    # After FreezingSchedulerHook has decided what trains, before LoggerHook writes the scalars.
    priority = 'NORMAL'
    _file: JsonLines  # from before_train on, as the next
    _counts: dict[str, Any]

    def __init__(
        self,
        target: Union[str, Sequence[str]] = 'backbone',
        interval: int = 50,
        granularity: str = 'tensor',
    ) -> None:
        super().__init__(target)
        self.interval = check_count('interval', interval)
        self.granularity = choice('granularity', granularity, GRANULARITIES)
        self._pending: dict[int, Deferred] = {}
        self._skipped: dict[int, Any] = {}  # by wrapper that has stepped in this iteration
        self._skipped_before: list[torch.Tensor] = []  # fused optimizers' since the last transfer
        self._broken: tuple[str, ...] = ()

    def before_train(self, runner) -> None:
        self._find_target(runner, 'rgn')
        self._file = JsonLines(runner, f'{self._name}.jsonl')
        self._counts = _counts(runner, self._name)
        # Gradients are equal on all ranks, so one of them looks.
        if is_main_process() and not self._listen():
            self._warn(
                f'no optimizer holds a parameter of target={self.target!r}, so none of its '
                'gradients makes a step: there will be no RGN'
            )

    def on_gradients(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """Starts a measurement if one is due; nothing here waits for the device."""
        if id(wrapper) in self._skipped:
            self._finish()  # a second step within one iteration
        if self._is_due():
            held = self._held[id(wrapper)]
            self._pending[id(wrapper)] = measure(held, self.granularity, scale=scale)

    def after_step(self, wrapper: OptimWrapper, skipped: Any) -> None:
        self._skipped[id(wrapper)] = skipped

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._finish()
        self._remove_frozen('', ['mean'])

    def after_train(self, runner) -> None:
        self._finish()
        super().after_train(runner)
        if self._counts['steps'] and not self._counts['with_gradient']:
            self._warn(
                f'target={self.target!r} had no gradient at any measurement of the whole run: it '
                'was frozen, or the loss does not depend on it'
            )

    def _is_due(self) -> bool:
        last, steps = self._counts['measured_at'], self._counts['steps']
        # By the grid of the interval, so that a resumed run measures where the first would have.
        return last is None or steps // self.interval > last // self.interval

    def _finish(self) -> None:
        """Ends a step: of all optimizers that hold a part of the target, once they have stepped."""
        if not self._skipped:
            return
        counts, skipped, pending = self._counts, self._skipped, self._pending
        self._skipped, self._pending = {}, {}
        on_device = [(s > 0).sum() for s in skipped.values() if isinstance(s, torch.Tensor)]
        here = any(s for s in skipped.values() if not isinstance(s, torch.Tensor))
        if pending and not here:
            found, rest = read(list(pending.values()), [*on_device, *self._skipped_before])
            self._skipped_before = []
            here = any(rest[: len(on_device)])
            counts['skipped'] += int(sum(rest[len(on_device) :]))
            if not here:
                kinds = kinds_of(self._parameters)
                frozen = frozen_stages(self.stage_map, self._parameters)
                self._record(RGNTable.of(found, self.stage_map, frozen, kinds))
                counts['measured_at'] = counts['steps']
        else:
            self._skipped_before += on_device
        counts['skipped'] += here
        counts['steps'] += 1
        if counts['skipped']:
            self._scalars.update({'skipped_steps': counts['skipped']})
        self._runner.message_hub.update_info(f'mmbackbone/{self._name}', dict(counts))

    def _record(self, table: RGNTable) -> None:
        runner = self._runner
        self._counts['with_gradient'] += bool(table.tensors)
        means = {name: found.mean for name, found in table.stages.items() if found is not None}
        if table.network is not None:
            means['mean'] = table.network.mean
        self._scalars.update(means)
        sleeping = [*table.frozen, *table.without_gradient]
        self._scalars.remove(sleeping if table.network is not None else [*sleeping, 'mean'])
        # As mmengine's own scalars count, from 1.
        place = dict(iter=runner.iter + 1, epoch=runner.epoch + 1, step=self._counts['steps'] + 1)
        how = dict(skipped_steps=self._counts['skipped'], granularity=self.granularity)
        self._file.write(dict(**place, **how, **table.to_dict()))
        broken = table.broken_stages(self.stage_map)
        if broken and broken != self._broken:
            self._warn(
                f'NaN or Inf gradients at epoch {runner.epoch + 1}, iteration {runner.iter + 1}, '
                f'in stages {", ".join(broken)} ({len(table.nonfinite)} tensors, first '
                f'{table.nonfinite[0]}); the step was taken with them'
            )
        self._broken = broken

    def _warn(self, text: str) -> None:
        if is_main_process():
            print_log(f'RGNHook: {text}', logger='current', level=logging.WARNING)


def _counts(runner, name: str) -> dict[str, Any]:
    """Steps tried and skipped so far, the step of the last measurement, those with gradients."""
    counts = dict(steps=0, skipped=0, measured_at=None, with_gradient=0)
    if runner._resume:
        counts.update(runner.message_hub.get_info(f'mmbackbone/{name}') or {})
    return counts
