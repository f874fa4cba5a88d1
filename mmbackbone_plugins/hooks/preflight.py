"""What could go wrong in a run with a freezing schedule, found before its first step.

Each check returns sentences that name the setting, its value and what is allowed; the hook raises
them together as one error, or logs them as warnings where the run is right all the same.
"""

from collections.abc import Collection, Iterator, Sequence

from mmengine.hooks import SyncBuffersHook
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from ..freezing.ddp import wrapper_conflict
from ..freezing.freezer import Freezer
from ..freezing.phases import Phase, ever_trained
from ..freezing.plan import FreezePlan
from ..freezing.schedules import FreezingSchedule
from .runners import held_by, optim_wrappers, sharding


def check_strategy(runner) -> list[str]:
    """Runners and wrappers that cannot follow a changing set of trainable parameters."""
    conflict = sharding(runner) or wrapper_conflict(runner.model)
    return [conflict] if conflict else []


def check_loop(runner, schedule: FreezingSchedule) -> list[str]:
    """A schedule by epoch in a loop that never advances ``runner.epoch``."""
    counts = schedule.by_epoch and not schedule.constant
    if counts and isinstance(runner.train_loop, IterBasedTrainLoop):
        return [
            f'schedule: {schedule!r} counts epochs, but {type(runner.train_loop).__name__} never '
            'advances the epoch; add by_epoch=False to the schedule and count iterations'
        ]
    return []


def check_compile(runner, phases: Sequence[Phase]) -> list[str]:
    """A compiled step whose graph would be stale after a change of phase."""
    compiled = runner.cfg.get('compile', None)
    if compiled in (None, False) or len(phases) < 2:
        return []
    return [
        f'compile={compiled!r}: the compiled step is made for one set of trainable parameters; '
        'a schedule with several phases needs compile=False'
    ]


def check_optimizer(
    runner, model: nn.Module, freezer: Freezer, phases: Sequence[Phase]
) -> list[str]:
    """Parameters that will train but that no optimizer holds."""
    held = set().union(*(held_by(wrapper) for _, wrapper in optim_wrappers(runner)))
    ever = {id(p) for p in freezer.parameters_of(ever_trained(phases))}
    missing = [n for n, p in model.named_parameters() if id(p) in ever and id(p) not in held]
    if not missing:
        return []
    first = ', '.join(missing[:3]) + (', ...' if len(missing) > 3 else '')
    return [
        f'optim_wrapper: {len(missing)} parameters that the schedule will train are in no '
        f'optimizer ({first}); build the optimizer while they require a gradient, and check '
        'paramwise_cfg and custom constructors'
    ]


def check_modes(freezer: Freezer, phases: Sequence[Phase]) -> list[str]:
    """Targets that return something else when frozen stages are in eval mode."""
    sets = {phase.trainable for phase in phases}
    for trainable in (s for s in sets if not any(other < s for other in sets)):
        conflict = freezer.mode_conflict(trainable)
        if conflict:
            return [
                f'frozen_mode={freezer.frozen_mode!r}: {conflict}, so with frozen stages in eval '
                'mode the target does not go forward as the losses expect; allowed for it are '
                "frozen_mode='norm_eval' (only norm layers are in eval mode) and 'train'"
            ]
    return []


def check_something_trains(
    runner, model: nn.Module, freezer: Freezer, phases: Sequence[Phase]
) -> list[str]:
    """Phases without any parameter to train, in the model or under one AMP optimizer."""
    ruled = {id(p) for p in freezer.parameters_of(freezer.stage_map.names)}
    rest = {id(p) for p in model.parameters() if p.requires_grad and id(p) not in ruled}
    for phase in {p.trainable: p for p in reversed(phases)}.values():  # each set once
        training = rest | {id(p) for p in freezer.parameters_of(phase.trainable)}
        when = f'from {phase.start + 1} to {phase.end}, as the log counts'
        if not training:
            return [
                f'schedule: nothing trains {when}; every parameter outside the target is frozen '
                'too. Leave at least the head trainable'
            ]
        for name, wrapper in optim_wrappers(runner):
            # torch's GradScaler.step refuses an optimizer without a single gradient.
            if isinstance(wrapper, AmpOptimWrapper) and not held_by(wrapper) & training:
                return [
                    f'optim_wrapper.{name}: none of its parameters trains {when}, and a loss '
                    'scaler cannot step without gradients; use OptimWrapper for it, or put it into '
                    'one optimizer with what trains'
                ]
    return []


def check_own_freezing(plan: FreezePlan, freezer: Freezer, phases: Sequence[Phase]) -> list[str]:
    """A target that keeps frozen by itself all that the schedule would train.

    A LoRAModel does so with what it wraps, and is not in vain: what it adds trains.
    """
    wanted = ever_trained(phases) & frozenset(plan.ruled)
    added = (n for stage in plan.stage_map if stage.is_block for n in stage.parameters)
    if not wanted or freezer.parameters_of(wanted) or any('.lora_' in name for name in added):
        return []
    return [
        f'schedule: {plan.schedule!r} trains nothing in any phase, because the target keeps all of '
        'its stages frozen by itself (frozen_stages?), and that holds in every phase; set '
        'frozen_stages=-1 in the config to let the schedule decide, or schedule=dict(type='
        "'FrozenBackbone') if nothing of it shall train"
    ]


def unreached(plan: FreezePlan, phases: Sequence[Phase]) -> Iterator[str]:
    """What a schedule would train, but not within a run of this length."""
    schedule, ruled = plan.schedule, frozenset(plan.ruled)
    end = phases[-1].end if phases else 0
    run = f'this run of {end} {schedule.unit}s'
    training = [phase for phase in phases if phase.trainable & ruled]
    past = schedule.milestones_past(end)
    if past:
        then = ''
        if not training:
            then = ': the target never trains'
        elif training[-1].end < end:
            after = f'{schedule.unit} {training[-1].end} of the log'
            then = f': after {after} the target never trains again'
        yield f'schedule: {schedule!r} names {list(past)}, which {run} never reaches{then}'
    never = [name for name in plan.ruled if not any(name in phase.trainable for phase in phases)]
    if training and never and not schedule.constant:
        yield f'schedule: {schedule!r} does not come to {", ".join(never)} in {run}'


def warn_plan(runner, plan: FreezePlan, phases: Sequence[Phase]) -> Iterator[str]:
    """Settings under which the run is right, but maybe not what was meant."""
    yield from unreached(plan, phases)
    if any(isinstance(hook, SyncBuffersHook) for hook in runner.hooks):
        yield (
            'custom_hooks: SyncBuffersHook averages all buffers over the ranks, those of a frozen '
            'backbone too, whose last bits may change'
        )
    schedule = plan.schedule
    counts = max(getattr(w, '_accumulative_counts', 1) for _, w in optim_wrappers(runner))
    length = len(runner.train_dataloader) if schedule.by_epoch else 1
    cut = [p.start for p in phases[1:] if p.start * length % counts]
    if counts > 1 and cut:
        span = f'the epoch of {length} iterations' if schedule.by_epoch else 'the phases'
        yield (
            f'optim_wrapper.accumulative_counts={counts} does not divide {span}: at the change of '
            f'phase after {schedule.unit} {cut[0]} the target loses the gradients of the window '
            'that the change cuts; everything else keeps them'
        )


def describe(stages: Collection[str], names: Sequence[str]) -> str:
    """The stages that train, in order, as people say it."""
    chosen = [name for name in names if name in stages]
    if not chosen:
        return 'none'
    return 'all' if len(chosen) == len(names) else ', '.join(chosen)
