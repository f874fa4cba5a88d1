"""Where the stages of a backbone end, family by family; see :func:`stage_output_rule`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from ..stages import divide_inside

# Applies a block to what a module returned: (block, output, arguments of the module) -> output.
Apply = Callable[[nn.Module, Any, Sequence[Any]], Any]


def on_map(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on a feature map, ``(N, C, H, W)``."""
    return block(output)


def on_tokens(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on tokens, ``(N, H * W, C)``; the second argument of their module is ``(H, W)``.

    More tokens than that, of a class and the like, come first and pass by the block.
    """
    height, width = args[1]
    extra = output.shape[1] - height * width
    feature = output[:, extra:].transpose(1, 2).unflatten(2, (height, width))
    changed = block(feature).flatten(2).transpose(1, 2)
    return torch.cat([output[:, :extra], changed], 1) if extra else changed


def on_channels_last(block: nn.Module, output: Tensor, args: Sequence[Any]) -> Tensor:
    """A block on ``(N, H, W, C)``."""
    return block(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


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
        embedding: The patch embedding that knows ``(H, W)`` where the module is not told it.

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
    embedding: Optional[nn.Module] = None


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
    """Finds the ends of a backbone's stages; a ValueError if no rule can tell them."""
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


def stage_at(backbone: nn.Module, path: str) -> Optional[str]:
    """The stage that a module at ``path`` belongs to, by the rules of a StageMap."""
    prefix, division = divide_inside(backbone, ask=False)
    stages = {f'{prefix}{p}': name for name, prefixes in division for p in prefixes}
    matches = [p for p in stages if f'{path}.'.startswith(f'{p}.')]
    return stages[max(matches, key=len)] if matches else None


def _at_ends(backbone: nn.Module, widths: dict[str, int], **options: Any) -> list[StageOutput]:
    """The last in each stage of some modules, which come with their widths by path."""
    found = {}
    for path, channels in widths.items():
        stage = stage_at(backbone, path)
        if stage and stage != 'stem':
            found[stage] = StageOutput(stage, backbone.get_submodule(path), channels, **options)
    return list(found.values())


def _last_width(module: nn.Module) -> int:
    return [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)][-1]


@stage_output_rule('CSPDarknet, CSPNeXt (stem, stage1, stage2, ...)')
def _csp(backbone: nn.Module) -> Optional[list[StageOutput]]:
    stages = _numbered(backbone, r'stage(\d+)')
    if not hasattr(backbone, 'stem') or not all(hasattr(s[-1], 'final_conv') for _, s in stages):
        return None
    return [StageOutput(f'stage{i}', s, s[-1].final_conv.out_channels) for i, s in stages]


@stage_output_rule('EfficientNet (layers)')
def _efficientnet(backbone: Any) -> Optional[list[StageOutput]]:
    if not type(backbone).__name__.startswith('EfficientNet') or not hasattr(backbone, 'layers'):
        return None
    # The other two are convolutions: the stem, and one that the neck may do without.
    stages = [(i, s) for i, s in enumerate(backbone.layers) if isinstance(s, nn.Sequential)]
    return _at_ends(backbone, {f'layers.{i}': _last_width(stage) for i, stage in stages})


@stage_output_rule('PyramidVisionTransformer (layers of embedding, blocks, norm)')
def _pvt(backbone: Any) -> Optional[list[StageOutput]]:
    """A stage ends with its last block: before the norm."""
    if not type(backbone).__name__.startswith('PyramidVisionTransformer'):
        return None
    lasts = {f'layers.{i}.1.{len(s[1]) - 1}': s[1][-1] for i, s in enumerate(backbone.layers)}
    widths = {path: block.ffn.embed_dims for path, block in lasts.items()}
    return _at_ends(backbone, widths, apply=on_tokens)


@stage_output_rule('VisionTransformer, BEiT, ViT-SAM (patch_embed, layers)')
def _vit(backbone: Any) -> Optional[list[StageOutput]]:
    """A stage is some of the layers; the norm of the output comes after the last of them."""
    kinds = {kind.__name__ for kind in type(backbone).__mro__}
    if not kinds & {'VisionTransformer', 'BEiTViT', 'ViTSAM'} or not hasattr(backbone, 'layers'):
        return None
    widths = {f'layers.{i}': backbone.embed_dims for i in range(len(backbone.layers))}
    if 'ViTSAM' in kinds:
        return _at_ends(backbone, widths, apply=on_channels_last)
    return _at_ends(backbone, widths, apply=on_tokens, embedding=backbone.patch_embed)


@stage_output_rule("timm's models in a TIMMBackbone with features_only=True")
def _timm(backbone: Any) -> Optional[list[StageOutput]]:
    net: Any = getattr(backbone, 'timm_model', None)
    info: Any = getattr(net, 'feature_info', None)
    if not hasattr(info, 'channels'):
        return None
    inner = getattr(net, 'model', net)  # of what returns features between its layers, as a ViT does
    root = 'timm_model.' if inner is net else 'timm_model.model.'
    if hasattr(inner, 'blocks') and hasattr(inner, 'patch_embed'):
        widths = {f'{root}blocks.{i}': inner.embed_dim for i in range(len(inner.blocks))}
        return _at_ends(backbone, widths, apply=on_tokens, embedding=inner.patch_embed)
    paths = dict(backbone.named_modules())
    widths = {}
    for name, channels in zip(info.module_name(), info.channels()):
        flat = f'{root}{name.replace(".", "_")}'  # timm flattens lists of stages
        widths[f'{root}{name}' if f'{root}{name}' in paths else flat] = channels
    last = getattr(net, 'output_fmt', 'NCHW') == 'NHWC'
    return _at_ends(backbone, widths, apply=on_channels_last if last else on_map)
