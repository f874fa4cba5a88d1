"""The hook that keeps the bill of a training run."""

import logging
import time
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
from ..cost.report import bill
from ..cost.traffic import GradientTraffic
from ..cost.weighing import Counted
from ..stages import StageMap
from ..utils.checks import flag
from ..utils.names import arguments_by_name
from ..utils.wrappers import unwrap
from .checkpoint_keys import COST_KEY
from .checks import check_count, refuse_second
from .cost_file import open_ledger, say
from .full_reference import count_full_step
from .runners import refuse_sharded
from .scalars import Scalars
from .step_watch import StepWatch
from .training_set import what_trains


@HOOKS.register_module()
@arguments_by_name()
class TrainingCostHook(Hook):
    """Keeps the bill of a run: FLOPs, seconds, peak memory and communicated bytes, by phase.

    A phase is all steps in which the same parameters train, however often it comes back; its name
    says what that is: ``full``, ``frozen``, ``probing`` (nothing of the backbone has trained yet),
    ``stage3+stage4``, ... FLOPs are counted by torch's flop counter watching a training step, once
    for every set of parameters that trains (and batch shape, see ``max_shapes``); no second step
    is made, and no bit of the training changes. Where a run starts without training everything, one
    image goes through the model with everything trainable, to know what that would have cost.

    ``cost.json`` in the work dir has it all; a resumed run goes on in it. Totals are those of an
    uninterrupted run; what restarts have lost stands apart under ``lost``. A file that cannot be
    read is kept aside. Scalars: ``cost/training_pflops``, ``cost/saving`` (share of full
    fine-tuning, from 0 to 1), ``cost/step_tflops``, ``cost/peak_memory_mb``,
    ``cost/communicated_gb`` (with several ranks). A table ends the log.

    Without torch's flop counter (2.0) or with ``compile``, all but the FLOPs is kept.

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
        self.watch: Optional[StepWatch] = None
        self._saved: Any = None
        self._resumed = self._running = False
        self._traffic = GradientTraffic()

    # -- when ------------------------------------------------------------------------------------

    def before_run(self, runner) -> None:
        """Sees what may train, before any hook freezes a part of it."""
        model = unwrap(runner.model)
        model.train()  # some backbones (Swin) freeze their own stages only here
        self._traffic.look(runner.model)
        self._allowed = frozenset(n for n, p in model.named_parameters() if p.requires_grad)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keeps the ledger of a checkpoint that the run resumes from."""
        if runner._resume:
            self._resumed, self._saved = True, checkpoint.get(COST_KEY)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends the ledger along."""
        if self.ledger is not None:
            checkpoint[COST_KEY] = self.ledger.to_dict()

    def before_train(self, runner) -> None:
        """Opens the ledger, or goes on in that of the part before."""
        refuse_sharded(runner, 'TrainingCostHook')
        refuse_second(runner, self)
        model = unwrap(runner.model)
        self._named = list(model.named_parameters())
        self._main = is_main_process()
        self._path = Path(runner.work_dir) / FILE_NAME
        self._world = get_world_size()
        self._counting = self._may_count(runner)
        self._scalars = Scalars(runner, 'cost')
        device = self._named[0][1].device
        self._memory = PeakMemory(device, self.reset_peak_memory)
        trains = what_trains(runner)
        self._by_epoch = trains.plan is None or trains.plan.schedule.by_epoch
        target = 'backbone' if hasattr(model, 'backbone') else ''
        # Phases are not named by what trains in all of them.
        stages = trains.plan.changing if trains.plan else StageMap.of(model, target)
        self._names = PhaseNames(stages, self._allowed, trains.begins)
        self._open(runner, device)
        self._signature: Optional[tuple] = None
        self._phase: Optional[PhaseCost] = None  # for good, if a finished run is resumed
        self._fresh_memory = True
        self._first = True
        self._mark = time.perf_counter()
        self._running = self._main
        if self._counting and self._main and hasattr(model, 'data_preprocessor'):
            self.watch = StepWatch(cast(nn.Module, model.data_preprocessor))

    def before_train_epoch(self, runner) -> None:
        """What lies between two epochs (checkpoints, validation) is no time of training."""
        self._mark = time.perf_counter()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Finds the phase that the step belongs to."""
        waited = time.perf_counter() - self._mark
        ledger, phase = self.ledger, self._phase
        if ledger is None:
            return
        signature = tuple(p.requires_grad for _, p in self._named)
        if phase is None or signature != self._signature:
            phase = self._enter(runner, signature, ledger)
        if self._first:
            self._first = False
            self._count_full(runner, data_batch, ledger, phase)
        if not self._main:
            return
        if self._fresh_memory:
            self._memory.reset()
            self._fresh_memory = False
        self._traffic.look(runner.model)
        if self.watch is not None:
            counted = phase.counted
            self.watch.before_step(runner.model, counted, len(counted) < self.max_shapes)
        self._mark = time.perf_counter()
        phase.data_seconds += waited

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Books the step."""
        phase, ledger = self._phase, self.ledger
        if phase is None or ledger is None or not self._main:
            return
        shape, step = ('unknown', None) if self.watch is None else self.watch.after_step()
        if step is not None:
            phase.counted[shape] = Counted(step.forward, step.backward)
            ledger.saw_operators(step)
        phase.steps += 1
        phase.batches[shape] = phase.batches.get(shape, 0) + self._world
        phase.communicated_bytes += self._traffic.last_step()
        ledger.iteration = runner.iter + 1
        due = (runner.iter + 1) % self.interval == 0
        if due or self._memory.every_step:
            phase.saw_memory(self._memory.read())
        now = time.perf_counter()
        phase.step_seconds += now - self._mark
        self._mark = now
        if due:
            self._publish()

    def after_train_epoch(self, runner) -> None:
        """Brings file and scalars up to date."""
        if self._main:
            self._close_memory()
            self._publish()

    def before_val(self, runner) -> None:
        if self._running:  # not in a validation by itself
            self._close_memory()
            self._validation = time.perf_counter()

    def after_val(self, runner) -> None:
        """Validation costs time as well, but belongs to no phase."""
        if self._running and self.ledger is not None:
            self._mark = time.perf_counter()
            self.ledger.validation_seconds += self._mark - self._validation
            self._fresh_memory = True

    def after_train(self, runner) -> None:
        """Writes the bill, and leaves the model as it was found."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        if not self._running or self.ledger is None:
            return
        self._running = False
        self._close_memory()
        self._publish()
        say(f'{self._path}\n{bill(self.ledger)}', level=logging.INFO)

    # -- the ledger ------------------------------------------------------------------------------

    def _open(self, runner, device: torch.device) -> None:
        self.ledger = open_ledger(runner, self._path, self._saved, self._resumed)
        self._saved = None
        self.ledger.parameters = sum(p.numel() for _, p in self._named)
        name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
        self.ledger.parts.append(
            dict(
                iteration=runner.iter, ranks=self._world, device=name, torch=str(torch.__version__)
            )
        )

    def _publish(self) -> None:
        ledger, phase = self.ledger, self._phase
        if ledger is None:
            return
        ledger.memory_kind = self._memory.kind
        totals = ledger.totals()
        values = dict(
            training_pflops=_scaled(totals['training_flops'], 1e15),
            saving=totals['saving'],
            communicated_gb=_scaled(totals['communicated_bytes'] or None, 1e9),
        )
        if phase is not None:
            values.update(
                step_tflops=_scaled(phase.step_flops, 1e12),
                peak_memory_mb=_scaled(phase.peak_memory, 2**20),
            )
        self._scalars.update({k: v for k, v in values.items() if v is not None})
        try:
            ledger.write(self._path)
        except OSError as error:
            say(f'{self._path} cannot be written ({error}); training goes on')

    def _close_memory(self) -> None:
        if self._phase is not None:
            self._phase.saw_memory(self._memory.read())

    # -- phases ----------------------------------------------------------------------------------

    def _enter(self, runner, signature: tuple, ledger: Ledger) -> PhaseCost:
        if self._signature is not None and self._main:
            self._close_memory()
        self._signature = signature
        training = frozenset(n for (n, p) in self._named if p.requires_grad)
        name = self._names.name(training, runner.epoch if self._by_epoch else runner.iter)
        parameters = sum(p.numel() for n, p in self._named if n in training)
        self._phase = ledger.phase(name, self._names.stages(training), parameters)
        self._fresh_memory = True
        return self._phase

    # -- counting --------------------------------------------------------------------------------

    def _may_count(self, runner) -> bool:
        if compat.flop_counter() is None:
            say(
                f'torch {torch.__version__} has no flop counter (2.1 or newer has); everything but '
                'FLOPs is recorded'
            )
        elif runner.cfg.get('compile', None) not in (None, False):
            say(
                'compile is set, and a compiled step hides its operators; everything but FLOPs is '
                'recorded'
            )
        else:
            return True
        return False

    def _count_full(self, runner, data_batch: Any, ledger: Ledger, phase: PhaseCost) -> None:
        """On every rank, each for itself: should one fail, the others do not wait for it."""
        known = ledger.full or FULL in ledger.phases
        if not self._counting or known or phase.name == FULL:
            return
        start = time.perf_counter()
        model = unwrap(runner.model)
        try:
            step, shape = count_full_step(runner, model, data_batch, self._allowed)
            ledger.full[shape] = Counted(step.forward, step.backward)
        except Exception as error:  # training is worth more than its bill
            text = f'full fine-tuning was not counted: {type(error).__name__}: {error}'
            say(f'{text}; there is no saving to report')
            ledger.notes.append(text.splitlines()[0])
        ledger.counting_seconds += time.perf_counter() - start


def _scaled(value: Optional[float], unit: float) -> Optional[float]:
    return None if value is None else value / unit
