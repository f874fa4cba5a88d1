"""Where a ResNet is free to have another width, and what it costs with other widths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

# Of mmdet, by name: nothing of it is imported to look at a module.
_KNOWN = ('mmdet.models.backbones.resnet.ResNet', 'mmdet.models.backbones.resnet.ResNetV1d')
_OURS = f'{__package__}.width_resnet.WidthResNet'


@dataclass(frozen=True)
class WidthSlot:
    """A place where a ResNet has a width of its own.

    Attributes:
        name: ``'stem'``, ``'stage1'``, ... for outputs; ``'stage1.0.conv1'`` inside a block.
        width: Number of channels there now.
        module: Name in the backbone of the module at which the feature map can be seen.
        before: Whether it is the module's input, otherwise its output. All of them are feature
            maps after norm and ReLU.
    """

    name: str
    width: int
    module: str
    before: bool = False


def width_slots(backbone: nn.Module) -> list[WidthSlot]:
    """All widths of a ResNet, from the input to the output.

    Where the first stage begins with an identity (depths 18 and 34), the stem writes into that
    stage's residual stream: the two are one slot, ``'stage1'``. A width for each would put in a
    convolution that the baseline does not have.

    Args:
        backbone: mmdet's ``ResNet`` or ``ResNetV1d``, or a ``WidthResNet``.

    Raises:
        ValueError: If it is something else; the message says what it is.
    """
    kind = f'{type(backbone).__module__}.{type(backbone).__qualname__}'
    if kind not in (*_KNOWN, _OURS):
        raise ValueError(
            f"the backbone is a {type(backbone).__name__}; widths can be set for mmdet's ResNet "
            'and ResNetV1d (depths 18 to 152) and for WidthResNet only'
        )
    slots = []
    if backbone.layer1[0].downsample is not None:
        stem = 'stem' if backbone.deep_stem else 'relu'
        slots.append(WidthSlot('stem', backbone.stem_channels, stem))
    for number, layer in enumerate(backbone.res_layers, start=1):
        blocks = getattr(backbone, layer)
        for i, block in enumerate(blocks):
            convs = _convolutions(block)
            # The last one writes to the residual stream of the stage.
            for this, following in zip(convs, convs[1:]):
                width = getattr(block, this).out_channels
                name = f'stage{number}.{i}.{this}'
                slots.append(WidthSlot(name, width, f'{layer}.{i}.{following}', before=True))
        stream = getattr(blocks[-1], _convolutions(blocks[-1])[-1]).out_channels
        slots.append(WidthSlot(f'stage{number}', stream, layer))
    return slots


def _convolutions(block: nn.Module) -> list[str]:
    return [f'conv{i}' for i in (1, 2, 3) if hasattr(block, f'conv{i}')]


def width_options(backbone: nn.Module, widths: Mapping[str, int]) -> dict[str, Any]:
    """Arguments of :class:`WidthResNet` that give each slot of a backbone its width.

    Args:
        backbone: See :func:`width_slots`.
        widths: Number of channels, by name of the slot; all slots.

    Returns:
        ``stem_channels``, ``stage_widths`` and ``block_widths``.
    """
    options: dict[str, Any] = dict(
        stem_channels=widths.get('stem', widths['stage1']), stage_widths=[], block_widths=[]
    )
    for number, layer in enumerate(backbone.res_layers, start=1):
        options['stage_widths'].append(widths[f'stage{number}'])
        options['block_widths'].append(
            [
                [widths[f'stage{number}.{i}.{c}'] for c in _convolutions(block)[:-1]]
                for i, block in enumerate(getattr(backbone, layer))
            ]
        )
    return options


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: Number of parameters of the whole detector.
        macs: Multiply-adds of backbone and neck for one image.
    """

    parameters: int
    macs: int


def count_cost(build: Callable[[], nn.Module], shape: tuple[int, int]) -> Cost:
    """Counts parameters of a detector, and multiply-adds of its backbone and neck.

    The detector is built and run on torch's ``meta`` device: no memory, no arithmetic, but every
    operator is called with its real shapes and counted by torch's flop counter (convolutions and
    matrix products; a multiply-add is two FLOPs). Heads see the neck's outputs, whose width stays:
    their multiply-adds are the same whatever the widths of the backbone.

    Args:
        build: Makes the detector.
        shape: Height and width of an image in pixels.

    Raises:
        ValueError: If an operator cannot be counted (deformable convolutions).
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device('meta'):
        model = build()
    model.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        try:
            features = model.backbone(torch.empty(1, 3, *shape, device='meta'))
            if getattr(model, 'neck', None) is not None:
                model.neck(features)
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(
                'backbone and neck cannot be counted: they have an operator that does not run on '
                f"torch's meta device, such as a deformable convolution ({error})"
            ) from error
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)
