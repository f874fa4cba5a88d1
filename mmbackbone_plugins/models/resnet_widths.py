"""Where a ResNet is free to have another width, and what its feature maps are there."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

# Of mmdet, by name: nothing of it is imported to look at a module.
ResNet = Any  # for readers of the signatures
_KNOWN = ('mmdet.models.backbones.resnet.ResNet', 'mmdet.models.backbones.resnet.ResNetV1d')
_OURS = f'{__package__}.width_resnet.WidthResNet'


@dataclass(frozen=True)
class WidthSlot:
    """A place where a ResNet has a width of its own; its map is seen after norm and ReLU."""

    name: str  # ``'stem'``, ``'stage1'``, ... for outputs; ``'stage1.0.conv1'`` inside a block
    width: int  # number of channels there now
    module: str  # in the backbone, whose output the map is
    before: bool = False  # or rather its input


def width_slots(backbone: ResNet) -> list[WidthSlot]:
    """All widths of a ResNet, from the input to the output.

    Where the first stage begins with an identity (depths 18 and 34), the stem writes into that
    stage's residual stream: the two are one slot, ``'stage1'``. A width for each would put in a
    convolution that the baseline does not have. A ValueError for what is neither mmdet's ``ResNet``
    or ``ResNetV1d`` nor a ``WidthResNet``.
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


class SlotTaps(nn.Module):
    """Shows the feature map of each slot of a detector as the output of a module of its own.

    A block of mmdet's has one ReLU for all its convolutions, and what they see is the output of no
    other module. Used as a context, which takes the hooks away again. ``layers`` has the names of
    the modules in here by that of the slot.
    """

    def __init__(self, model: nn.Module, slots: Sequence[WidthSlot]) -> None:
        super().__init__()
        self.model: Any = model
        # A name of a module has no dots; messages about the features name the slot with dashes.
        keys = {slot.name: slot.name.replace('.', '-') for slot in slots}
        self.slots = nn.ModuleDict({key: nn.Identity() for key in keys.values()})
        self.layers = {name: f'slots.{key}' for name, key in keys.items()}
        self._slots = list(slots)
        self._taps = ExitStack()

    def __enter__(self) -> 'SlotTaps':
        for slot in self._slots:
            module = self.model.backbone.get_submodule(slot.module)
            add = module.register_forward_pre_hook if slot.before else module.register_forward_hook
            self._taps.callback(add(self._tap(slot)).remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._taps.close()

    def _tap(self, slot: WidthSlot) -> Callable[..., None]:
        show = self.slots[slot.name.replace('.', '-')]

        def tap(module: nn.Module, args: Any, output: Any = None) -> None:
            show(args[0] if slot.before else output)

        return tap

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.model.backbone(inputs)


def _convolutions(block: nn.Module) -> list[str]:
    return [f'conv{i}' for i in (1, 2, 3) if hasattr(block, f'conv{i}')]


def width_options(backbone: ResNet, widths: Mapping[str, int]) -> dict[str, Any]:
    """Arguments of :class:`WidthResNet` that give all slots of a backbone their widths."""
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
