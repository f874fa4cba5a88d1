"""Training FLOPs of one step, counted in a real forward and backward pass.

A rule of thumb such as "backward is twice forward" is wrong as soon as a prefix is frozen: its
backward disappears as a whole, that of the first layer behind it halves. So a step is run under
torch's flop counter, with the losses, assigners and samplers of the model.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one training step; a multiplication and an addition count as two.

    Attributes:
        forward: FLOPs of the forward pass, losses included.
        backward: FLOPs of the backward pass.
        by_operator: FLOPs by operator name. Convolutions, matrix products and attention are
            counted; element-wise operators, norms and custom operators (RoIAlign, NMS) are not.
    """

    forward: int
    backward: int
    by_operator: dict[str, int]

    @property
    def total(self) -> int:
        return self.forward + self.backward


def training_flops(model: nn.Module, inputs: torch.Tensor, data_samples: list[Any]) -> StepFlops:
    """Counts the FLOPs of one training step with what trains now, in the modes it is in now.

    Nothing of the step is left: gradients, buffers and random state are put back.

    Args:
        model: A detector whose ``loss(inputs, data_samples)`` returns a dict of losses.
        inputs: Images as the detector takes them, (N, C, H, W), normalised.
        data_samples: Their N data samples with ground truth.

    Returns:
        The FLOPs of the batch.

    Raises:
        ValueError: If nothing in the model requires a gradient.
        ImportError: If torch has no flop counter (2.0).
    """
    from torch.utils.flop_counter import FlopCounterMode  # not in torch 2.0

    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError('model has no parameter that requires a gradient; there is no step')
    gradients = [(p, p.grad) for p in model.parameters()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    for parameter, _ in gradients:
        parameter.grad = None
    devices = [inputs.device] if inputs.is_cuda else []
    try:
        with torch.random.fork_rng(devices), FlopCounterMode(display=False) as counter:
            loss = _total(model.loss(inputs, data_samples))
            forward = counter.get_total_flops()
            loss.backward()
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
    counts = counter.get_flop_counts().get('Global', {})
    operators = {str(getattr(op, '__name__', op)): int(n) for op, n in counts.items()}
    return StepFlops(int(forward), int(counter.get_total_flops() - forward), operators)


def _total(losses: dict[str, Any]) -> torch.Tensor:
    """The sum that mmengine's ``parse_losses`` takes: of all entries with 'loss' in their name."""
    terms = []
    for name, value in losses.items():
        if 'loss' in name:
            values = value if isinstance(value, (list, tuple)) else [value]
            terms += [v.mean() for v in values]
    return torch.stack([t.reshape(()) for t in terms]).sum()
