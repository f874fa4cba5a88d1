"""MMDetection's ResNet with a width for the stem, each stage output and each inner convolution."""

from collections.abc import Sequence
from typing import Any, Optional, Union

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.backbones.resnet import Bottleneck, ResNet
from torch import nn

from ..utils.checks import whole_number
from ..utils.text import some

BlockWidths = Union[int, Sequence[int]]  # one for all inner convolutions of a block, or one each


class WidthResNet(ResNet):
    """ResNet whose number of channels is an argument wherever the architecture leaves it free.

    All blocks of a stage add to one residual stream: its width is that of the stage's output.
    Inside a block, a ``Bottleneck`` has two convolutions before the one that writes to the stream,
    a ``BasicBlock`` has one; each of them has a width of its own. Widths that are not given are
    those of mmdet's ResNet of that depth. With these everywhere, this *is* mmdet's ResNet: keys,
    shapes, initial weights under a seed and outputs are equal bit for bit, and its checkpoints
    load.

    The neck has to know the new stage outputs: ``neck.in_channels`` of an FPN is
    ``[stage_widths[i] for i in out_indices]``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stem_channels: Width of the stem; with ``deep_stem`` its inner convolutions have half of
            it, as in mmdet. ``base_channels`` by default.
        base_channels: What the default widths are multiples of.
        num_stages: Number of stages, 1 to 4.
        stage_widths: Width of each stage's output, one number a stage.
        block_widths: Widths inside the blocks: for each stage a list with an entry for each block,
            or one number for all its blocks. An entry is a list with one number for each inner
            convolution, or one number for all.
        **options: All other arguments of mmdet's ResNet: ``style``, ``deep_stem``, ``avg_down``,
            ``norm_cfg``, ``norm_eval``, ``frozen_stages``, ``dcn``, ``plugins``, ``with_cp``, ...

    Raises:
        ValueError: If a width is not a positive integer, one is missing or too many, or the
            groups of a group norm do not divide it.

    Source:
        arXiv 1909.04021 changes the widths of a ResNet-50; which of them it ties is not known to
        us: one width per residual stream and one per inner convolution is our reading.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import WidthResNet
        >>> backbone = WidthResNet(18, stem_channels=8, stage_widths=[8, 16, 24, 40])
        >>> [feature.shape[1] for feature in backbone(torch.rand(1, 3, 64, 64))]
        [8, 16, 24, 40]
    """

    def __init__(
        self,
        depth: int,
        *,
        stem_channels: Optional[int] = None,
        base_channels: int = 64,
        num_stages: int = 4,
        stage_widths: Optional[Sequence[int]] = None,
        block_widths: Optional[Sequence[Union[int, Sequence[BlockWidths]]]] = None,
        **options: Any,
    ) -> None:
        if not isinstance(depth, int) or depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {list(self.arch_settings)}, got {depth!r}')
        block, counts = self.arch_settings[depth]
        whole_number('num_stages', num_stages)
        whole_number('base_channels', base_channels)
        counts = counts[:num_stages]
        planes = [base_channels * 2**i for i in range(len(counts))]
        inner = 2 if block is Bottleneck else 1
        # Before mmdet builds: make_res_layer, which it calls for each stage, needs them.
        self.stage_widths = _stage_widths(stage_widths, [p * block.expansion for p in planes])
        self.block_widths = _block_widths(block_widths, planes, counts, inner)
        stem = base_channels if stem_channels is None else stem_channels
        whole_number('stem_channels', stem)
        _check_groups(self, options.get('norm_cfg'), stem, options.get('deep_stem', False))
        super().__init__(
            depth, stem_channels=stem, base_channels=base_channels, num_stages=num_stages, **options
        )
        self.inplanes = self.feat_dim = self.stage_widths[-1]

    def make_res_layer(self, **options: Any) -> nn.Module:
        """Makes the next stage with mmdet's ``ResLayer`` and blocks."""
        stage = len(self.res_layers)
        width = self.stage_widths[stage]
        options.update(
            block=_Blocks(options['block'], self.block_widths[stage]),
            planes=width,
            inplanes=self.stage_widths[stage - 1] if stage else self.stem_channels,
        )
        layer = super().make_res_layer(**options)
        layer.block = self.block
        return layer


class _Blocks:
    """What ``ResLayer`` takes for the class of its blocks: makes each with widths of its own."""

    expansion = 1  # so that ResLayer takes ``planes`` for the width of the stage's output

    def __init__(self, block: type, widths: Sequence[Sequence[int]]) -> None:
        self._block = block
        self._widths = iter(widths)

    def __call__(self, inplanes: int, planes: int, **options: Any) -> nn.Module:
        inner = next(self._widths)
        block = self._block(inplanes=inplanes, planes=inner[-1], **options)
        _resize(block, [inplanes, *inner, planes], options)
        return block


def _resize(block: Any, channels: Sequence[int], options: dict[str, Any]) -> None:
    """Replaces the convolutions, norms and plugins of a block that mmdet made in another width."""
    for i, (before, after) in enumerate(zip(channels, channels[1:]), start=1):
        conv = getattr(block, f'conv{i}')
        if (conv.in_channels, conv.out_channels) != (before, after):
            # mmdet falls back to a plain convolution where a deformable one is not wanted.
            deformable = type(conv) is not type(block.conv1)
            kind = options.get('dcn') if deformable else options.get('conv_cfg')
            places = {k: getattr(conv, k) for k in ('kernel_size', 'stride', 'padding', 'dilation')}
            setattr(block, f'conv{i}', build_conv_layer(kind, before, after, bias=False, **places))
        if conv.out_channels == after:
            continue
        name, norm = build_norm_layer(options['norm_cfg'], after, postfix=i)
        setattr(block, name, norm)
        if getattr(block, 'with_plugins', False):
            for plugin in getattr(block, f'after_conv{i}_plugin_names'):
                delattr(block, plugin)
            names = block.make_block_plugins(after, getattr(block, f'after_conv{i}_plugins'))
            setattr(block, f'after_conv{i}_plugin_names', names)


def _stage_widths(given: Any, default: list[int]) -> list[int]:
    widths = default if given is None else _listed('stage_widths', given, len(default), 'stage')
    for i, width in enumerate(widths):
        whole_number(f'stage_widths[{i}]', width)
    return widths


def _block_widths(given: Any, planes: list[int], counts: list[int], inner: int) -> list:
    stages = planes if given is None else _listed('block_widths', given, len(counts), 'stage')
    widths: list[list] = []
    for i, (stage, count) in enumerate(zip(stages, counts)):
        where = f'block_widths[{i}]'
        blocks = _repeated(where, stage, count, 'block')
        widths.append([])
        for j, entry in enumerate(blocks):
            place = where if isinstance(stage, int) else f'{where}[{j}]'
            each = _repeated(place, entry, inner, 'inner convolution')
            for width in each:
                whole_number(place, width)
            widths[-1].append(each)
    return widths


def _repeated(name: str, value: Any, length: int, what: str) -> list:
    """One number for all, or a list with one entry each."""
    return [value] * length if isinstance(value, int) else _listed(name, value, length, what)


def _listed(name: str, value: Any, length: int, what: str) -> list:
    if not isinstance(value, (list, tuple)) or len(value) != length:
        raise ValueError(f'{name} must have {length} entries, one for each {what}, got {value!r}')
    return list(value)


def _check_groups(net: WidthResNet, norm_cfg: Any, stem: int, deep_stem: bool) -> None:
    groups = (norm_cfg or {}).get('num_groups')
    if not groups:
        return
    named = [('stem_channels', stem)]
    if deep_stem:
        named += [('stem_channels // 2', stem // 2)]
    named += [(f'stage_widths[{i}]', w) for i, w in enumerate(net.stage_widths)]
    for i, blocks in enumerate(net.block_widths):
        named += [(f'block_widths[{i}][{j}]', w) for j, b in enumerate(blocks) for w in b]
    wrong = [f'{name} = {width}' for name, width in named if width % groups]
    if wrong:
        raise ValueError(
            f'norm_cfg.num_groups = {groups} must divide every width; it does not divide '
            f'{some(wrong, 4)}'
        )
