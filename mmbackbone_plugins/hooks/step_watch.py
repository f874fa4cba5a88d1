"""Counts training steps of a run as they happen, without making any of its own."""

from contextlib import ExitStack
from typing import Any, Callable, Optional

from torch import nn

from ..cost.counting import OperatorCounter
from ..cost.flops import StepFlops
from ..utils.wrappers import replace_method
from .full_reference import batch_shape


class StepWatch:
    """Learns the shape of every batch, and counts the step of those that are new.

    The shape is known when the data preprocessor has made it, inside the step; the count begins
    there, and ends with the step, even with one that fails.
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        self._counter: Optional[OperatorCounter] = None
        self._model: Any = None
        self._wrapped = ExitStack()
        self._waiting, self._shape = False, 'unknown'
        # A plain function: a copy of the model must not drag this object along.
        self._handle = preprocessor.register_forward_hook(lambda *call: self.saw_inputs(call[2]))

    def before_step(
        self, model: nn.Module, wanted: Callable[[str], bool], images_read: int = 0
    ) -> None:
        """Gets ready for a step; ``wanted`` says of a shape whether it needs a count.

        ``images_read`` are those whose features are read and not computed.
        """
        if model is not self._model:
            self._wrap(model)
        self._wanted, self._shape, self._read = wanted, 'unknown', images_read
        self._found: Optional[StepFlops] = None

    def begin_step(self) -> None:
        """From here on it is the step: other hooks may have sent batches of their own before."""
        self._waiting = True

    def saw_inputs(self, data: Any) -> None:
        """The batch is there, as the model will get it."""
        if not self._waiting:
            return
        self._waiting = False  # the first of this step only
        self._shape = batch_shape(data) + (f', {self._read} read' if self._read else '')
        if self._wanted(self._shape):
            self._counter = OperatorCounter().start()

    def end_count(self) -> None:
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.stop()
            self._found = StepFlops.of(counter)

    def after_step(self) -> tuple[str, Optional[StepFlops]]:
        """The shape of the step's batch, and its FLOPs if they were counted."""
        self._waiting = False
        return self._shape, self._found

    def close(self) -> None:
        self._wrapped.close()
        self._handle.remove()

    def _wrap(self, model: Any) -> None:
        self._wrapped.close()
        original = model.train_step

        def train_step(*args, **kwargs):
            self.begin_step()
            try:
                return original(*args, **kwargs)
            finally:
                self.end_count()

        self._wrapped.callback(replace_method(model, 'train_step', train_step))
        self._model = model
