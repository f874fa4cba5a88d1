"""Training FLOPs of one step, counted in a real forward and backward pass.

A rule of thumb such as "backward is twice forward" is wrong as soon as a prefix is frozen: its
backward disappears as a whole, that of the first layer behind it halves.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from ..distortion.passes import allow_single_values
from ..utils.untouched import untouched
from .counting import OperatorCounter


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one training step; a multiplication and an addition count as two.

    Convolutions, matrix products and attention are counted. What does arithmetic but has no
    formula is listed: custom operators (RoIAlign, NMS, ...), norms, pooling, interpolation,
    reductions. Element-wise operators are neither counted nor listed.
    """

    forward: int  # losses included
    backward: int
    by_operator: dict[str, int] = field(default_factory=dict)  # FLOPs
    uncounted: dict[str, int] = field(default_factory=dict)  # calls

    @classmethod
    def of(cls, counter: OperatorCounter) -> 'StepFlops':
        """What a counter has counted."""
        return cls(counter.forward, counter.backward, counter.by_operator, counter.uncounted)

    @property
    def total(self) -> int:
        return self.forward + self.backward

    def per_image(self, images: int) -> 'StepFlops':
        """FLOPs divided by the number of images; calls stay those of the batch."""
        operators = {name: count // images for name, count in self.by_operator.items()}
        forward, backward = self.forward // images, self.backward // images
        return StepFlops(forward, backward, operators, self.uncounted)


def training_flops(model: nn.Module, inputs: torch.Tensor, data_samples: list[Any]) -> StepFlops:
    """Counts the FLOPs of one training step with what trains now, in the modes it is in now.

    Nothing of the step is left: gradients, buffers and random state are put back.

    Work that depends on the data is that of this batch: in a two-stage detector the second stage
    works on as many regions as its sampler draws (512 an image in most configs, fewer when there
    are fewer proposals), a mask head on the positive ones alone.

    Args:
        model: A detector whose ``loss(inputs, data_samples)`` returns a dict of losses.
        inputs: Images as the detector takes them, (N, C, H, W), normalised.
        data_samples: Their N data samples with ground truth.

    Returns:
        The FLOPs of the batch.

    Raises:
        ValueError: If nothing in the model requires a gradient, or its losses are no dict with a
            'loss' in a name that depends on what does.
        ImportError: If torch has no flop counter (2.0).

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import training_flops
        >>> class Detector(torch.nn.Conv2d):
        ...     def loss(self, inputs, data_samples):
        ...         return dict(loss=self(inputs).mean())
        >>> flops = training_flops(Detector(3, 8, 1), torch.rand(1, 3, 4, 4), data_samples=[])
        >>> flops.forward, flops.backward
        (768, 768)
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError('model has no parameter that requires a gradient; there is no step')
    with untouched(model), torch.enable_grad(), OperatorCounter() as counter:
        allow_single_values(model)  # segmentors pool one image to one position
        _total(cast(Any, model).loss(inputs, data_samples)).backward()
    return StepFlops.of(counter)


def _total(losses: dict[str, Any]) -> torch.Tensor:
    """The sum that mmengine's ``parse_losses`` takes: of all entries with 'loss' in their name."""
    named = losses.items() if isinstance(losses, dict) else ()
    values = [value for name, value in named if 'loss' in name]
    terms = [t for v in values for t in (v if isinstance(v, (list, tuple)) else [v])]
    total = torch.stack([t.mean() for t in terms]).sum() if terms else torch.zeros(())
    if not total.requires_grad:
        found = list(losses) if isinstance(losses, dict) else type(losses).__name__
        raise ValueError(
            "model.loss must return a dict of losses ('loss' in their names) that depend on a "
            f'parameter that trains, got {found}'
        )
    return total
