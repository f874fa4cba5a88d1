"""What trains in a run: now, or at some time of it."""

from torch import nn

from ..freezing.phases import ever_trained
from .freezing_scheduler_hook import FreezingSchedulerHook
from .gradient_tap import parameters_of
from .preflight import optim_wrappers


def names_that_ever_train(runner, model: nn.Module) -> frozenset[str]:
    """Parameters that train at some time of the run.

    Those that require a gradient now, and those that a freezing schedule has frozen for the time
    being. What the model keeps frozen by itself (``frozen_stages``) is not among them, nor what no
    optimizer holds.

    Args:
        runner: The runner, after ``before_train`` of :class:`FreezingSchedulerHook`.
        model: Its model, without a distributed wrapper.
    """
    found = {id(p) for p in model.parameters() if p.requires_grad}
    for hook in runner.hooks:
        if isinstance(hook, FreezingSchedulerHook) and hook.freezer is not None:
            ruled = {id(p) for p in hook.freezer.parameters_of(hook.freezer.stage_map.names)}
            found -= ruled  # a stage that trains now and never again is in the next line
            found |= {id(p) for p in hook.freezer.parameters_of(ever_trained(hook.phases))}
    held = set().union(*(parameters_of(wrapper) for _, wrapper in optim_wrappers(runner)))
    return frozenset(n for n, p in model.named_parameters() if id(p) in found & held)
