"""Reads, and lets others change, gradients at the two moments when they mean something.

mmengine's ``train_step`` goes backward, steps and clears the gradients at one go; hooks run when
all is over. This is the only place that reaches in between; it changes nothing itself.

Under a loss scaler the gradients still carry the scale at the first moment. They are left so, and
the listener is given the scale: unscaling them here would make the scaler refuse its own call, and
would round differently where an optimizer unscales in its own kernel (``fused=True``).
"""

from collections.abc import Iterator
from typing import Any, Optional

import torch
from mmengine.optim import OptimWrapper

from ..utils.wrappers import replace_method
from .runners import optim_wrappers, refuse_sharded


class GradientListener:
    """What a tap calls; override what is needed."""

    def on_gradients(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """After accumulation and reduction over ranks, before clipping.

        Called whenever a step is attempted; a loss scaler may still skip it. ``scale`` is the loss
        scale by which the gradients are too large; None: they are true.
        """

    def on_step(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """After unscaling and clipping, right before the optimizer moves the parameters.

        Not called for a step that a loss scaler skips, except for fused optimizers, which learn of
        it on the device only: what is added to the gradients there has no effect, and must be
        multiplied by ``scale``, by which they divide in their kernel (None: gradients are true). A
        mere look at the gradients belongs into :meth:`on_gradients`, for clipping is over here.
        """

    def after_step(self, wrapper: OptimWrapper, skipped: Any) -> None:
        """After the step, before gradients are cleared.

        ``skipped`` tells whether the loss scaler skipped it: a bool, or for fused optimizers a
        tensor on the device that is positive if it did.
        """


class GradientTap:
    """Calls listeners around the steps of one wrapper, until it has none; see :func:`listen`."""

    def __init__(self, wrapper: OptimWrapper) -> None:
        self.listeners: list[GradientListener] = []
        self._wrapper = wrapper
        original = wrapper.step

        def step(**kwargs):
            # Cut off from the optimizer, a tap that could not be taken off in order is harmless.
            return self._around(original, kwargs) if self.listeners else original(**kwargs)

        step.tap = self  # type: ignore[attr-defined]
        self._take_off = replace_method(wrapper, 'step', step)
        self._handle = wrapper.optimizer.register_step_pre_hook(self._on_optimizer_step)
        self._inside = False
        self._skipped: Any = True

    def _around(self, original, kwargs: dict) -> Any:
        scale = current_scale(self._wrapper)
        for listener in list(self.listeners):
            listener.on_gradients(self._wrapper, scale)
        self._skipped, self._inside = True, True
        try:
            result = original(**kwargs)
        finally:
            self._inside = False
        for listener in list(self.listeners):
            listener.after_step(self._wrapper, self._skipped)
        return result

    def _on_optimizer_step(self, optimizer, args, kwargs) -> None:
        if not self._inside:
            return  # an optimizer stepped behind its wrapper's back
        # Fused optimizers are always called; torch hands them these two for the time of the call.
        found = getattr(optimizer, 'found_inf', None)
        self._skipped = False if found is None else found
        scale = getattr(optimizer, 'grad_scale', None)
        for listener in list(self.listeners):
            listener.on_step(self._wrapper, scale)

    def remove(self, listener: GradientListener) -> None:
        """Takes a listener off, and with the last one the tap itself."""
        self.listeners.remove(listener)
        if not self.listeners:
            self._handle.remove()
            self._take_off()


def listen(wrapper: OptimWrapper, listener: GradientListener) -> GradientTap:
    """Calls a listener around every step of a wrapper, until the tap's ``remove(listener)``."""
    tap = getattr(wrapper.__dict__.get('step'), 'tap', None)
    if tap is None or not tap.listeners:
        tap = GradientTap(wrapper)
    tap.listeners.append(listener)
    return tap


def tapped_wrappers(runner, who: str) -> Iterator[OptimWrapper]:
    """The optimizer wrappers of a runner; a ValueError, by ``who``, if a gradient is hidden."""
    refuse_sharded(runner, who)
    for _, wrapper in optim_wrappers(runner):
        if not isinstance(wrapper, OptimWrapper):
            raise ValueError(
                f'{who}: optim_wrapper: {type(wrapper).__name__} is not an OptimWrapper of '
                'mmengine; its step cannot be watched'
            )
        yield wrapper


def current_scale(wrapper: OptimWrapper) -> Optional[torch.Tensor]:
    """The loss scale that gradients carry now, on its device; None where they are true."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    if scaler is None or not getattr(scaler, 'is_enabled', lambda: True)():
        return None
    # A train_step of the user's own may have called unscale_ before the wrapper's step.
    states = getattr(scaler, '_per_optimizer_states', {})
    state = states[id(wrapper.optimizer)] if id(wrapper.optimizer) in states else {}
    if getattr(state.get('stage'), 'name', '') == 'UNSCALED':
        return None
    scale = getattr(scaler, '_scale', None)
    if scale is None:
        value = float(scaler.get_scale())
        return None if value == 1.0 else torch.tensor(value)
    return scale
