"""Bytes of gradients that ``DistributedDataParallel`` reduces over ranks."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel


class GradientTraffic:
    """Knows the distributed wrappers of a model and what one reduction of theirs takes.

    A wrapper reduces what required a gradient when it was built. So the sum is taken when it is
    first seen, which must be before anything freezes or thaws.
    """

    def __init__(self) -> None:
        self._model: object = None
        self._wrappers: list[tuple[DistributedDataParallel, int]] = []

    def look(self, model: nn.Module) -> None:
        """Takes note of the wrappers in what the runner trains; free if they are known."""
        if model is self._model:
            return
        self._model = model
        found = [m for m in model.modules() if isinstance(m, DistributedDataParallel)]
        self._wrappers = [(m, gradient_bytes(m.module)) for m in found]

    def last_step(self) -> int:
        """Bytes that this rank has handed to the all-reduce in the step that has just been."""
        # Set by each forward pass: whether the backward pass after it reduces (not in no_sync).
        return sum(size for m, size in self._wrappers if m.require_forward_param_sync)


def gradient_bytes(model: nn.Module) -> int:
    """Bytes of the gradients of what requires one."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
