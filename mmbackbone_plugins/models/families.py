"""Where the stages of a backbone end: what :class:`StageBlockBackbone` knows of each family.

A new family is one function with the decorator :func:`stage_output_rule`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from torch import Tensor, nn

# Applies a block to what a module returned: (block, output, arguments of the module) -> output.
Apply = Callable[[nn.Module, Any, Sequence[Any]], Any]


def on_map(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on a feature map, ``(N, C, H, W)``."""
    return block(output)


def on_tokens(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on tokens, ``(N, H * W, C)``; the second argument of their module is ``(H, W)``."""
    feature = output.transpose(1, 2).unflatten(2, tuple(args[1]))
    return block(feature).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class StageOutput:
    """The end of a stage.

    Attributes:
        stage: Name of the stage, as ``StageMap`` has it.
        module: The module whose output is all that goes on from this stage: to the next one, and
            to the neck, perhaps through an output norm.
        channels: Channels of that output.
        apply: How a block that takes and returns ``(N, C, H, W)`` is applied to that output.
            A function of a module's top level, so that a backbone can be pickled.

    Examples:
        >>> from torch import nn
        >>> from mmbackbone_plugins import StageOutput
        >>> output = StageOutput('stage1', nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), channels=8)
        >>> output.stage, output.channels
        ('stage1', 8)
    """

    stage: str
    module: nn.Module
    channels: int
    apply: Apply = on_map


OutputRule = Callable[[nn.Module], Optional[list[StageOutput]]]

_RULES: dict[str, OutputRule] = {}


def stage_output_rule(family: str) -> Callable[[OutputRule], OutputRule]:
    """Registers a rule for a family of backbones; later rules are asked first.

    Args:
        family: Name of the family in error messages.

    Returns:
        A decorator for a function that takes a backbone and returns the ends of its stages from
        the input to the output, or None when the backbone is not of this family.

    Examples:
        >>> from torch import nn
        >>> from mmbackbone_plugins import StageOutput, stage_output_rule
        >>> @stage_output_rule('TrunkNet (trunk)')
        ... def trunk_net(backbone):
        ...     if hasattr(backbone, 'trunk'):
        ...         return [StageOutput('stage1', backbone.trunk, backbone.trunk.out_channels)]
        >>> trunk_net(nn.ModuleDict(dict(trunk=nn.Conv2d(3, 8, 1))))[0].channels
        8
    """

    def register(rule: OutputRule) -> OutputRule:
        _RULES[family] = rule
        return rule

    return register


def stage_outputs(backbone: nn.Module) -> list[StageOutput]:
    """Finds the ends of a backbone's stages.

    Raises:
        ValueError: If no rule knows the backbone, or a rule cannot tell the channels of a stage.
    """
    for rule in reversed(_RULES.values()):
        try:
            found = rule(backbone)
        except AttributeError as error:
            raise ValueError(
                f'the channels of the stages of {type(backbone).__name__} cannot be inferred: '
                f'{error}; write a rule for it with the decorator stage_output_rule'
            ) from error
        if found:
            return found
    raise ValueError(
        f'StageBlockBackbone does not know where the stages of {type(backbone).__name__} end. It '
        f'knows: {"; ".join(_RULES)}. A rule for another family is one function with the '
        'decorator stage_output_rule'
    )


def _numbered(module: nn.Module, pattern: str) -> list[tuple[int, Any]]:
    found = ((re.fullmatch(pattern, name), child) for name, child in module.named_children())
    return sorted(((int(m[1]), child) for m, child in found if m), key=lambda item: item[0])


@stage_output_rule('ResNet, ResNeXt, Res2Net, ResNeSt, RegNet (layer1, layer2, ...)')
def _resnet(backbone: nn.Module) -> Optional[list[StageOutput]]:
    layers = _numbered(backbone, r'layer(\d+)')
    # DetectoRS sends maps past its layers, block by block, in the second of its passes.
    if len(layers) < 2 or layers[0][0] != 1 or hasattr(backbone, 'rfp_forward'):
        return None
    outputs = []
    for number, layer in layers:
        last = layer[-1]
        convolution = getattr(last, 'conv3', None) or getattr(last, 'conv2', None)
        if convolution is None:  # MobileNetV2 has layers of that name, and other blocks in them
            return None
        outputs.append(StageOutput(f'stage{number}', layer, convolution.out_channels))
    return outputs


@stage_output_rule('SwinTransformer (patch_embed, stages)')
def _swin(backbone: Any) -> Optional[list[StageOutput]]:
    """A stage ends with its last block: before the downsampling and before the output norm."""
    if not {'patch_embed', 'stages'} <= {name for name, _ in backbone.named_children()}:
        return None
    if not all(hasattr(stage, 'blocks') for stage in backbone.stages):
        return None
    return [
        StageOutput(f'stage{i}', stage.blocks[-1], stage.blocks[-1].ffn.embed_dims, on_tokens)
        for i, stage in enumerate(backbone.stages, start=1)
    ]


@stage_output_rule('ConvNeXt (downsample_layers, stages)')
def _convnext(backbone: Any) -> Optional[list[StageOutput]]:
    """A stage ends with its last block: before the output norm and the next downsampling layer."""
    if not {'downsample_layers', 'stages'} <= {name for name, _ in backbone.named_children()}:
        return None
    stages = zip(backbone.stages, backbone.channels)
    return [StageOutput(f'stage{i}', s, channels) for i, (s, channels) in enumerate(stages, 1)]
