"""The hook that trains parts of a model in some epochs only."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional, Union

from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch.nn.parallel import DistributedDataParallel

from ..freezing.building import build_schedule, misplaced
from ..freezing.ddp import rebuild
from ..freezing.folding import FrozenForward
from ..freezing.freezer import FROZEN_MODES, Freezer, reset_optimizer_state
from ..freezing.phases import Phase
from ..freezing.plan import FreezePlan
from ..stages import StageMap
from ..utils.checks import choice, flag, whole_number
from ..utils.names import arguments_by_name
from ..utils.wrappers import unwrap
from . import preflight
from .checkpoint_keys import ANCHOR_KEY, DECISIONS_KEY
from .checks import check_frozen_forward, check_patterns, check_target
from .epoch_decisions import EpochDecisions
from .loading import TRAIN, UNLOADED, LoadingHook
from .probed import end_of_probing, keep_probed
from .runners import optim_wrappers

RESETS = ('none', 'momentum', 'all')


@HOOKS.register_module()
@arguments_by_name(misplaced)
class FreezingSchedulerHook(LoadingHook):
    """Freezes and unfreezes a part of the model, the backbone by default, on a schedule.

    What trains is a function of the epoch and iteration alone and is worked out anew at every
    boundary, so a resumed run takes up the phase it was in. The optimizer keeps all parameters for
    the whole run; frozen ones have no gradient, so it leaves them and its state of them alone.

    In a frozen epoch the frozen stages build no graph and hold no activations. Under
    ``DistributedDataParallel`` the wrapper is rebuilt at a change of phase, so that only the
    gradients of what trains are communicated; ``find_unused_parameters`` is not needed.

    What the target keeps frozen by itself (``frozen_stages`` of MMDetection's backbones) stays
    frozen in every phase; ``frozen_stages=-1`` in the config says otherwise. An ``EMAHook`` copy
    goes on approaching the live model while that is frozen.

    Source: freezing scheduler of "Dynamic Backbone Freezing", arXiv 2407.15143. There the outputs
    are detached and norm and dropout layers left in train mode (``frozen_mode='train'`` keeps
    the modes so); turning ``requires_grad`` off is our reading, with equal gradients elsewhere.

    Args:
        schedule: Config of a schedule in ``FREEZING_SCHEDULES``, e.g.
            ``dict(type='StepFreezing', rho=10)``.
        target: Dotted path of the module to rule over, or a list of paths.
        frozen_mode: ``'eval'``: frozen stages are in eval mode, norm and drop layers included.
            ``'norm_eval'``: only their norm layers are. ``'train'``: modes are untouched.
        reset_optimizer_state: What the optimizer forgets of stages that begin to train again:
            ``'none'``, ``'momentum'`` (first moments) or ``'all'``.
        freeze_blocks: Whether the schedule rules over added blocks (SE, adapters) as well. By
            default they train and stay in train mode in every phase.
        keep_trainable: Regular expressions (``re.search``) of names of parameters in the target
            that train in every phase: norms (``'norm'``), biases (``'bias$'``, as BitFit has it),
            position embeddings. Norm layers that hold one keep the mode of what trains.
        unloaded: What becomes of parameters of the target that neither an ``init_cfg`` of type
            ``Pretrained`` nor ``load_from`` has filled. ``'train'``: they train in every phase, as
            a stage ``unloaded``, and a warning names them; of a target of which nothing was loaded
            none is set apart. ``'freeze'``: they freeze with their stage, random as they are.
            ``'error'``: the run stops before its first step.
        vit_stages: Number of stages that the blocks of a ViT are divided into, four by default;
            for all hooks of the run.
        frozen_forward: How frozen leading stages go forward in training steps. ``'exact'``: as they
            are. ``'folded'``: with norms folded into convolutions in channels-last memory.
            ``'bf16'`` or ``'fp16'``: that in half precision. Needs norms in eval mode. See
            :class:`~mmbackbone_plugins.FrozenForward`.
        frozen_compile: Whether torch.compile makes graphs of what ``frozen_forward`` replaces, not
            of ``'exact'``, for a graph rounds otherwise. Needs ``frozen_mode='eval'``.
        keep_probed: Whether the weights are kept in ``probed.pth``, in the work dir, when the
            target begins to train: the start of an interpolation.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, before the first
            step, if the run has any conflict with the schedule, all of them in one message.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [
        ...     dict(type='FreezingSchedulerHook', schedule=dict(type='StepFreezing', rho=10))
        ... ]
    """

    # Before the hooks that read what trains; after RuntimeInfoHook, which sets epoch and iter.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        schedule: dict,
        target: Union[str, Sequence[str]] = 'backbone',
        frozen_mode: str = 'eval',
        reset_optimizer_state: str = 'none',
        freeze_blocks: bool = False,
        keep_trainable: Union[str, Sequence[str]] = (),
        unloaded: str = 'train',
        vit_stages: Optional[int] = None,
        keep_probed: bool = False,
        frozen_forward: str = 'exact',
        frozen_compile: bool = False,
    ) -> None:
        self.schedule = build_schedule(schedule)
        self.target = check_target(target)
        self.frozen_mode = choice('frozen_mode', frozen_mode, FROZEN_MODES)
        self.reset = choice('reset_optimizer_state', reset_optimizer_state, RESETS)
        self.freeze_blocks = choice('freeze_blocks', freeze_blocks, (False, True))
        self.keep_trainable = check_patterns('keep_trainable', keep_trainable)
        self.unloaded = choice('unloaded', unloaded, UNLOADED)
        self.vit_stages = (
            vit_stages if vit_stages is None else whole_number('vit_stages', vit_stages)
        )
        self.keep_probed = flag('keep_probed', keep_probed)
        self.frozen_forward = check_frozen_forward(frozen_forward, frozen_compile, frozen_mode)
        self.frozen_compile = frozen_compile
        self.forward: Optional[FrozenForward] = None
        self.freezer: Optional[Freezer] = None
        self.plan: Optional[FreezePlan] = None  # with the phases, known from before_train on
        self.phases: tuple[Phase, ...] = ()
        self.decisions: Optional[EpochDecisions] = None  # of schedules that follow a signal
        if self.schedule.decides:
            self.kept = (ANCHOR_KEY, DECISIONS_KEY)
        self._time: Optional[int] = None

    # -- when ------------------------------------------------------------------------------------

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends it along."""
        super().before_save_checkpoint(runner, checkpoint)
        if self.decisions is not None:
            self.decisions.save(checkpoint)

    def before_train(self, runner) -> None:
        """Checks the run, freezes what the first (or resumed) epoch freezes, and says so."""
        _raise_if(preflight.check_strategy(runner) + preflight.check_loop(runner, self.schedule))
        model = unwrap(runner.model)
        # Some backbones (Swin) freeze their own stages only here; the loop calls it next anyway.
        runner.model.train()
        stage_map = StageMap.of(model, self.target, self.vit_stages)
        self._refuse_second_ruler(runner, stage_map)
        then = f'; they train in every phase (unloaded={self.unloaded!r})'
        apart, unloaded = self.unloaded_of(runner, stage_map, self.unloaded, then)
        length = runner.max_epochs if self.schedule.by_epoch else runner.max_iters
        with _named(f'schedule: {self.schedule!r} in a run of {length}: '):
            schedule = self.schedule.resolved(length)
        with _named():
            plan = FreezePlan(schedule, stage_map, self.freeze_blocks)
            self.plan = plan.keep(model, self.keep_trainable)
        if self.unloaded == TRAIN:
            self.plan = self.plan.release(model, apart)
        self.freezer = Freezer(model, self.plan.stage_map, self.frozen_mode)
        if self.frozen_forward != 'exact':
            how = self.frozen_forward, self._say, self.frozen_compile
            self.forward = FrozenForward(model, stage_map.targets, *how)
        self.phases = self.plan.phases(length)
        with _named():
            self._probed_at = end_of_probing(self.plan, self.phases) if self.keep_probed else None
        _raise_if(
            preflight.check_compile(runner, self.phases)
            + preflight.check_own_freezing(self.plan, self.freezer, self.phases)
            + preflight.check_optimizer(runner, model, self.freezer, self.phases)
            + preflight.check_something_trains(runner, model, self.freezer, self.phases)
            + preflight.check_modes(self.freezer, self.phases)
        )
        for warning in preflight.warn_plan(runner, self.plan, self.phases):
            print_log(f'FreezingSchedulerHook: {warning}', logger='current', level=logging.WARNING)
        self._time = None
        if self.plan.schedule.decides:
            with _named():
                self.decisions = EpochDecisions(runner, self, self._checkpoint)
        self._update(runner)
        status = self.freezer.status(unloaded)
        print_log(
            f'FreezingSchedulerHook: {schedule!r} on {self.target!r}\n{status.table()}',
            logger='current',
        )

    def before_train_epoch(self, runner) -> None:
        """Changes the phase at an epoch's beginning."""
        self._update(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Changes the phase of a schedule by iteration, and puts modes where they stay.

        The loops call ``model.train()`` after ``before_train_epoch`` (by epoch) or before every
        iteration (by iteration), so this is the first place where a mode is not undone.
        """
        if not self.schedule.by_epoch and self._update(runner):
            runner.model.train()  # stages that begin to train take the modes the model gives them
        if self.freezer is not None:
            self.freezer.apply_modes()
        if self.forward is not None:
            self.forward.install()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Whatever is not a training step goes forward exactly."""
        if self.forward is not None:
            self.forward.remove()

    def after_train(self, runner) -> None:
        """Leaves the model as it was found: ``requires_grad`` and modes."""
        self.forward = None
        if self.freezer is not None:
            self.freezer.restore()

    # -- what ------------------------------------------------------------------------------------

    def _update(self, runner) -> bool:
        """Applies the state of this time; returns whether the set of trained stages changed."""
        time = runner.epoch if self.schedule.by_epoch else runner.iter
        if self.plan is None or self.freezer is None or time == self._time:
            return False
        starting, self._time = self._time is None, time
        if time == self._probed_at:
            keep_probed(runner)
        if self.decisions is not None:
            self.decisions.decide(runner)
        trainable = self.plan.trainable(runner.epoch, runner.iter)
        if not starting and trainable == self.freezer.trainable:
            return False
        changed = self.freezer.apply(trainable)
        if self.forward is not None:
            self.forward.drop()
        # At the start always: the wrapper was built before the model's own freezing was settled.
        if (starting or changed) and isinstance(runner.model, DistributedDataParallel):
            runner.model = rebuild(runner.model)
        self._reset_state(runner, time, trainable)
        self._report(runner, self.plan, self.freezer)
        return True

    def _reset_state(self, runner, time: int, trainable: frozenset[str]) -> None:
        if self.reset == 'none' or time == 0 or self.plan is None or self.freezer is None:
            return
        # The phase before is asked of the schedule, not remembered: a resumed run resets alike.
        before = self.plan.trainable(time - 1, time - 1)
        parameters = self.freezer.parameters_of(trainable - before)
        optimizers = [wrapper.optimizer for _, wrapper in optim_wrappers(runner)]
        reset_optimizer_state(optimizers, parameters, self.reset)

    def _report(self, runner, plan: FreezePlan, freezer: Freezer) -> None:
        status = freezer.status()
        stages = preflight.describe(freezer.trainable, freezer.stage_map.names)
        print_log(
            f'FreezingSchedulerHook: epoch {runner.epoch + 1}, iteration {runner.iter}: stages '
            f'of {self.target!r} that train: {stages}; {status.trainable_parameters:,} of '
            f'{status.parameters:,} parameters train ({status.ratio:.1%})',
            logger='current',
        )
        # A scalar keeps its last value in every later line of the log, so once a phase is enough.
        # Of what the schedule rules over: added blocks train whatever it says.
        ruled = [s for s in status.stages if s.stage in plan.ruled]
        training = sum(s.trainable_parameters > 0 for s in ruled)
        runner.message_hub.update_scalar('train/freezing/trainable_stages', training)
        runner.message_hub.update_scalar('train/freezing/trainable_ratio', status.ratio)

    def _say(self, text: str) -> None:
        print_log(
            f'FreezingSchedulerHook: frozen_forward={self.frozen_forward!r}: {text}',
            logger='current',
        )

    def _refuse_second_ruler(self, runner, stage_map: StageMap) -> None:
        for hook in runner.hooks:
            if hook is not self and isinstance(hook, FreezingSchedulerHook):
                raise ValueError(
                    f'custom_hooks: there are two FreezingSchedulerHooks, with targets '
                    f'{self.target!r} and {hook.target!r}; use one hook with a list of targets'
                )


@contextmanager
def _named(what: str = '') -> Iterator[None]:
    """Errors in here begin with the name of the hook."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f'FreezingSchedulerHook: {what}{error}') from error


def _raise_if(errors: list[str]) -> None:
    if errors:
        raise ValueError('FreezingSchedulerHook: ' + '\n'.join(errors))
