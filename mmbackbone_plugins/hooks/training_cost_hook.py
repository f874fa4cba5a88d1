"""The hook that records what a training run costs."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, cast

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn

from .. import compat
from ..cost.ledger import FILE_NAME, Ledger, PhaseCost
from ..cost.memory import PeakMemory
from ..cost.naming import FULL, PhaseNames
from ..cost.report import cost_text
from ..cost.traffic import GradientTraffic
from ..cost.weighing import Counted
from ..stages import StageMap
from ..utils.checks import flag
from ..utils.names import arguments_by_name
from ..utils.wrappers import unwrap
from .checkpoint_keys import COST_KEY
from .checks import check_count, refuse_second
from .cost_file import open_ledger, say
from .feature_cache_hook import FeatureCacheHook
from .full_reference import count_full_step
from .measuring_cost import MeasuringCost
from .runners import refuse_sharded
from .scalars import Scalars
from .step_watch import StepWatch
from .training_set import what_trains


@HOOKS.register_module()
@arguments_by_name()
class TrainingCostHook(Hook):
    """Records what a run costs: FLOPs, seconds, peak memory and communicated bytes, by phase.

    A phase is all steps in which the same parameters train, however often it comes back; its name
    says what that is: ``full``, ``frozen``, ``probing`` (nothing of the backbone has trained yet),
    ``stage3+stage4``, ... FLOPs are counted by torch's flop counter (2.1 or newer, without
    ``compile``) watching a training step, once for every phase and batch shape; no second step
    is made, and no bit of the training changes. Where a run starts without training everything, one
    image goes through the model with everything trainable, to know what that would have cost.

    ``cost.json`` in the work dir has it all; a resumed run goes on in it. What restarts have lost
    stands apart under ``lost``. Scalars: ``cost/training_pflops``, ``cost/saving`` (share of full
    fine-tuning, from 0 to 1), ``cost/step_tflops``, ``cost/peak_memory_mb``,
    ``cost/communicated_gb`` (with several ranks). A table ends the log.

    Source: the DBF paper (arXiv 2407.15143) states training cost as F_total; its formula could not
    be read, so counting forward and backward of every step is our reading.

    Args:
        interval: Iterations from one update of the scalars and of the file to the next.
        max_shapes: Of how many shapes of a batch (images x height x width, padded) a step is
            counted in each phase; others are worked out from the nearest by their pixels.
        reset_peak_memory: Whether the counter of the peak memory is set back at the start of a
            phase and after a validation. If not, a phase has the peak of all before it as well.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if there is a
            second hook of this kind, or parameters are sharded (FSDP, DeepSpeed).

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='TrainingCostHook')]
    """

    # After FreezingSchedulerHook has decided what trains, before LoggerHook writes the scalars.
    priority = 'NORMAL'

    def __init__(
        self, interval: int = 50, max_shapes: int = 8, reset_peak_memory: bool = True
    ) -> None:
        self.interval = check_count('interval', interval)
        self.max_shapes = check_count('max_shapes', max_shapes)
        self.reset_peak_memory = flag('reset_peak_memory', reset_peak_memory)
        self.ledger: Optional[Ledger] = None
        self._saved: Any = None
        self._resumed = False
        self.measuring: Optional[MeasuringCost] = None  # None: FLOPs are not counted
        self._traffic = GradientTraffic()
        self._cache: Optional[FeatureCacheHook] = None
        self._run: Optional[_Run] = None

    def before_run(self, runner) -> None:
        """Sees what may train, before any hook freezes a part of it."""
        model = unwrap(runner.model)
        model.train()  # some backbones (Swin) freeze their own stages only here
        self._traffic.look(runner.model)
        self._allowed = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        counts = _may_count(runner) and hasattr(model, 'data_preprocessor')
        self.measuring = MeasuringCost() if counts else None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._resumed, self._saved = True, checkpoint.get(COST_KEY)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        if self.ledger is not None:
            checkpoint[COST_KEY] = self.ledger.to_dict()

    def before_train(self, runner) -> None:
        refuse_sharded(runner, 'TrainingCostHook')
        refuse_second(runner, self)
        model, trains = unwrap(runner.model), what_trains(runner)
        target = 'backbone' if hasattr(model, 'backbone') else ''
        # Phases are not named by what trains in all of them.
        stages = trains.plan.changing if trains.plan else StageMap.of(model, target)
        if not is_main_process():
            return
        named = list(model.named_parameters())
        device, path = named[0][1].device, Path(runner.work_dir) / FILE_NAME
        self.ledger = open_ledger(runner, path, self._saved, self._resumed)
        self.ledger.parameters = sum(p.numel() for _, p in named)
        name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
        part = dict(ranks=get_world_size(), device=name, torch=str(torch.__version__))
        self.ledger.parts.append(dict(iteration=runner.iter, **part))
        counts = self.measuring is not None
        self._saved = None
        self._cache = next((h for h in runner.hooks if isinstance(h, FeatureCacheHook)), None)
        self._run = _Run(
            ledger=self.ledger,
            path=path,
            named=named,
            names=PhaseNames(stages, self._allowed, trains.begins),
            by_epoch=trains.plan is None or trains.plan.schedule.by_epoch,
            memory=PeakMemory(device, self.reset_peak_memory),
            scalars=Scalars(runner, 'cost'),
            watch=StepWatch(cast(nn.Module, model.data_preprocessor)) if counts else None,
        )

    def before_train_epoch(self, runner) -> None:
        """What lies between two epochs (checkpoints, validation) is no time of training."""
        if self._run is not None:
            self._run.mark = time.perf_counter()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Finds the phase that the step belongs to."""
        run = self._run
        if run is None:
            return
        images_read = self._read_features(runner, data_batch, run)
        if self.measuring is not None:  # those of all ranks are alike
            run.ledger.measuring_flops += self.measuring.take() * run.ledger.parts[-1]['ranks']
        waited, phase = time.perf_counter() - run.mark, run.phase
        trains = tuple(p.requires_grad for _, p in run.named)
        if phase is None:
            phase = run.enter(trains, runner)
            self._count_full(runner, data_batch, run)
        elif trains != run.trains:
            phase = run.enter(trains, runner)
        if run.fresh_memory:
            run.memory.reset()
            run.fresh_memory = False
        self._traffic.look(runner.model)
        if run.watch is not None:
            known, room = phase.counted, len(phase.counted) < self.max_shapes
            run.watch.before_step(runner.model, lambda s: room and s not in known, images_read)
        run.mark = time.perf_counter()
        phase.data_seconds += waited

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        run = self._run
        if run is None or run.phase is None:
            return
        phase, ledger = run.phase, run.ledger
        shape, step = ('unknown', None) if run.watch is None else run.watch.after_step()
        if step is not None:
            phase.counted[shape] = Counted(step.forward, step.backward)
            ledger.saw_operators(step)
        phase.steps += 1
        phase.batches[shape] = phase.batches.get(shape, 0) + ledger.parts[-1]['ranks']
        phase.communicated_bytes += self._traffic.last_step()
        ledger.iteration = runner.iter + 1
        due = (runner.iter + 1) % self.interval == 0
        if due or run.memory.every_step:
            phase.saw_memory(run.memory.read())
        now = time.perf_counter()
        phase.step_seconds += now - run.mark
        run.mark = now
        if due:
            run.publish()

    def after_train_epoch(self, runner) -> None:
        if self._run is not None:
            self._run.close()

    def before_val(self, runner) -> None:
        """Validation costs time as well, but belongs to no phase."""
        if self._run is not None:  # not in a validation by itself
            self._run.saw_memory()
            self._run.mark = time.perf_counter()

    def after_val(self, runner) -> None:
        if self._run is not None:
            now = time.perf_counter()
            self._run.ledger.validation_seconds += now - self._run.mark
            self._run.mark, self._run.fresh_memory = now, True

    def after_train(self, runner) -> None:
        """Writes the costs, and leaves the model as it was found."""
        run, self._run = self._run, None
        if run is None:
            return
        if run.watch is not None:
            run.watch.close()
        run.close()
        say(f'{run.path}\n{cost_text(run.ledger)}', level=logging.INFO)

    def _read_features(self, runner, data_batch: Any, run: '_Run') -> int:
        """Images of the batch whose features a cache has; the batch is completed."""
        if self._cache is None:
            return 0
        self._cache.fill(runner, data_batch)
        run.ledger.features_read_bytes += self._cache.bytes_read * run.ledger.parts[-1]['ranks']
        return self._cache.images_read

    def _count_full(self, runner, data_batch: Any, run: '_Run') -> None:
        ledger = run.ledger
        if run.watch is None or ledger.full or FULL in ledger.phases:
            return
        start = time.perf_counter()
        try:
            step, shape = count_full_step(runner, unwrap(runner.model), data_batch, self._allowed)
            ledger.full[shape] = Counted(step.forward, step.backward)
        except Exception as error:  # training is worth more than a record of its cost
            text = f'full fine-tuning was not counted: {type(error).__name__}: {error}'
            say(f'{text}; there is no saving to report')
            ledger.notes.append(text.splitlines()[0])
        ledger.counting_seconds += time.perf_counter() - start


@dataclass
class _Run:
    """A run under way, on the rank that keeps the ledger."""

    ledger: Ledger
    path: Path
    named: list[tuple[str, nn.Parameter]]
    names: PhaseNames
    by_epoch: bool
    memory: PeakMemory
    scalars: Scalars
    watch: Optional[StepWatch]  # None: FLOPs are not counted
    trains: tuple[bool, ...] = ()  # of each parameter in the phase
    phase: Optional[PhaseCost] = None  # for good, if a finished run is resumed
    fresh_memory: bool = True
    mark: float = field(default_factory=time.perf_counter)

    def enter(self, trains: tuple[bool, ...], runner) -> PhaseCost:
        """The phase of what trains from now on."""
        self.saw_memory()
        training = {n: p.numel() for n, p in self.named if p.requires_grad}
        held = frozenset(training)
        name = self.names.name(held, runner.epoch if self.by_epoch else runner.iter)
        phase = self.ledger.phase(name, self.names.stages(held), sum(training.values()))
        self.trains, self.phase, self.fresh_memory = trains, phase, True
        return phase

    def saw_memory(self) -> None:
        if self.phase is not None:
            self.phase.saw_memory(self.memory.read())

    def close(self) -> None:
        self.saw_memory()
        self.publish()

    def publish(self) -> None:
        self.ledger.memory_kind = self.memory.kind
        totals = self.ledger.totals()
        values = dict(
            training_pflops=(totals['training_flops'], 1e15),
            saving=(totals['saving'], 1),
            communicated_gb=(totals['communicated_bytes'] or None, 1e9),
        )
        if self.phase is not None:
            values['step_tflops'] = (self.phase.step_flops, 1e12)
            values['peak_memory_mb'] = (self.phase.peak_memory, 2**20)
        self.scalars.update({k: v / unit for k, (v, unit) in values.items() if v is not None})
        try:
            self.ledger.write(self.path)
        except OSError as error:
            say(f'{self.path} cannot be written ({error}); training goes on')


def _may_count(runner) -> bool:
    if compat.flop_counter() is None:
        why = f'torch {torch.__version__} has no flop counter (2.1 or newer has)'
    elif runner.cfg.get('compile', None) not in (None, False):
        why = 'compile is set, and a compiled step hides its operators'
    else:
        return True
    say(f'{why}; everything but FLOPs is recorded')
    return False
