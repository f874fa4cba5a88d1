"""Families of backbones, known by the names of their children."""

import re
from collections.abc import MutableMapping
from typing import Optional, cast
from weakref import WeakKeyDictionary

from torch import nn

from ..utils.checks import whole_number
from .rules import (
    Division,
    children_of,
    describes_itself,
    divide_inside,
    holds_parameters,
    own_parameters,
    stage_rule,
)

_VIT_STAGES: MutableMapping[nn.Module, int] = WeakKeyDictionary()  # where it is not four
_Parts = list[tuple[str, nn.Module]]

# What the parts in a row are called: children with a number, or the items of a list.
_ROW = re.compile(r'(?:layers?|stages?|blocks?|encoder|network|conv_res_block|s)[._]?(\d+)')
# What goes with the part of the same number: output norms and the like, the items of other lists.
_BESIDE = re.compile(r'(?:norm|patch_embed|transition)(\d+)|(?!stem).*\.(\d+)')


@stage_rule
def _row_of_stages(module: nn.Module) -> Optional[Division]:
    """ResNet and relatives, Swin, EfficientNet, CSP nets, ...: a stem, and stages in a row."""
    before, row, after = _around_row(module)
    if len(row) < 2 or _is_uniform(row):
        return None
    numbers = {_number(_ROW, path) for path, _ in row}
    beside = {path: n for path, _ in before + after if (n := _number(_BESIDE, path)) in numbers}
    stem = [(path, child) for path, child in before if path not in beside]
    has_stem = own_parameters(module) or any(holds_parameters(child) for _, child in stem)
    kinds = [type(child) for _, child in row]
    usual = max(kinds, key=kinds.count)
    # EfficientNet and PKINet have their stem in the row, and some a last convolution like it.
    outer = None if has_stem or kinds[0] is usual else kinds[0]
    stages = [[path for path, _ in stem]]
    stage_of = {}
    for i, (path, _) in enumerate(row):
        # A layer between two stages, as PoolFormer and LEGNet have it, opens the second.
        opened = i > 1 and kinds[i - 2] is kinds[i] is usual is not kinds[i - 1]
        if opened or kinds[i] is outer:
            stages[-1].append(path)
        else:
            stages.append([path])
        stage_of[_number(_ROW, path)] = stages[-1]
    for path, number in beside.items():
        stage_of[number].append(path)
    division = [(f'stage{i}' if i else 'stem', paths) for i, paths in enumerate(stages)]
    return division if has_stem or outer else division[1:]


@stage_rule
def _vit(module: nn.Module) -> Optional[Division]:
    """A row of equal blocks: patch embedding, tokens and positions; groups of blocks; the rest."""
    before, row, after = _around_row(module)
    has_stem = own_parameters(module) or any(holds_parameters(child) for _, child in before)
    if len(row) < 2 or not _is_uniform(row) or not has_stem:
        return None
    count = min(_VIT_STAGES.get(module, 4), len(row))
    ends = [-(-len(row) * i // count) for i in range(count + 1)]  # sizes differ by one at most
    division = [('stem', [path for path, _ in before])]
    for i, (start, end) in enumerate(zip(ends, ends[1:]), 1):
        division.append((f'stage{i}', [path for path, _ in row[start:end]]))
    rest = [path for path, child in after if holds_parameters(child)]
    return [*division, ('rest', rest)] if rest else division


@stage_rule
def _mvit(module: nn.Module) -> Optional[Division]:
    """MViT: blocks in one list, and the last block of each stage by number."""
    ends = getattr(module, 'stage_indices', None)
    if not isinstance(ends, dict) or 'blocks' not in children_of(module):
        return None
    division: Division = [('stem', ['patch_embed'])]
    start = 0
    for end, number in ends.items():
        blocks = [f'blocks.{i}' for i in range(start, end + 1)]
        division.append((f'stage{number + 1}', [*blocks, f'norm{number}']))
        start = end + 1
    return division


@stage_rule
def _hourglass(module: nn.Module) -> Optional[Division]:
    """Stacked hourglasses: each with its output layer and with what leads to the next."""
    lists = [name for name, c in module.named_children() if isinstance(c, nn.ModuleList)]
    if not {'stem', 'hourglass_modules'} <= set(children_of(module)):
        return None
    count = len(cast(nn.ModuleList, module.hourglass_modules))
    stages = [(f'stage{i + 1}', [f'{name}.{i}' for name in lists]) for i in range(count)]
    return [('stem', ['stem']), *stages]


@stage_rule
def _vgg(module: nn.Module) -> Optional[Division]:
    """VGG: a stage ends with a pooling layer."""
    features = getattr(module, 'features', None)
    if not isinstance(features, nn.Sequential):
        return None
    stages: list[list[str]] = [[]]
    for name, child in features.named_children():
        stages[-1].append(f'features.{name}')
        if isinstance(child, nn.MaxPool2d):
            stages.append([])
    return [(f'stage{i}', paths) for i, paths in enumerate(stages, 1)] if stages[1:] else None


@stage_rule
def _convnext(module: nn.Module) -> Optional[Division]:
    """ConvNeXt: each downsampling layer but the first (the stem) opens the stage it feeds."""
    if not {'downsample_layers', 'stages'} <= set(children_of(module)):
        return None
    division: Division = [('stem', ['downsample_layers.0'])]
    for i in range(len(cast(nn.ModuleList, module.stages))):
        downsample = [f'downsample_layers.{i}'] if i else []
        division.append((f'stage{i + 1}', downsample + [f'stages.{i}', f'norm{i}']))
    return division


def _around_row(module: nn.Module) -> tuple[_Parts, _Parts, _Parts]:
    """The parts of a module: those before the first of a row, the row, all others."""
    parts: _Parts = []
    for name, child in module.named_children():
        listed = isinstance(child, nn.ModuleList) or (
            isinstance(child, nn.Sequential) and _ROW.fullmatch(f'{name}.0')
        )
        if listed and not name[-1].isdigit():
            parts += [(f'{name}.{n}', item) for n, item in child.named_children()]
        else:
            parts.append((name, child))
    row = [part for part in parts if _ROW.fullmatch(part[0])]
    numbers = [_number(_ROW, path) for path, _ in row]
    if not row or numbers != sorted(set(numbers)):  # two rows
        return parts, [], []
    start = parts.index(row[0])
    return parts[:start], row, [part for part in parts[start:] if part not in row]


def _is_uniform(row: _Parts) -> bool:
    """Whether a row is a list of parts of one class and width."""
    kinds = {(type(c), next((p.shape for p in c.parameters()), None)) for _, c in row}
    return len(kinds) == 1 and all('.' in path for path, _ in row)


def _number(pattern: re.Pattern, path: str) -> int:
    found = pattern.fullmatch(path)
    return int(found[found.lastindex or 0]) if found else -1


def set_vit_stages(module: nn.Module, count: int) -> None:
    """Divides the blocks of a ViT, or of one that a module wraps, into so many groups from now on.

    A ValueError if they are less than 1 or more than there are blocks, or there is no ViT.
    """
    inner = module.get_submodule(divide_inside(module)[0].rstrip('.'))
    found = next(filter(_vit, [inner, *inner.children()]), None)
    if found is None or describes_itself(inner):
        raise ValueError(
            f'vit_stages={count!r}: {type(module).__name__} has no row of equal blocks behind a '
            'patch embedding; leave it out'
        )
    blocks = len(_around_row(found)[1])
    _VIT_STAGES[found] = whole_number(
        'vit_stages', count, allowed=f'a number from 1 to {blocks}, the blocks', most=blocks
    )
