"""How a module is divided: by its own word, by the rule of its family, or by its children."""

import re
import warnings
from collections.abc import Iterator, MutableMapping
from typing import Any, Callable, Optional, cast
from weakref import WeakKeyDictionary

from torch import nn

from ..utils.checks import whole_number
from .trace import first_uses

# A rule divides a module: stage names in order, each with the prefixes (of parameters and
# submodules, relative to the module) that belong to it. None: not a module of this family.
# A stage '<other stage>.block' is a block that was added to that stage.
Division = list[tuple[str, list[str]]]
StageRule = Callable[[nn.Module], Optional[Division]]

_RULES: list[StageRule] = []
_ORDERED: MutableMapping[nn.Module, Division] = WeakKeyDictionary()  # tracing takes a while
_VIT_STAGES: MutableMapping[nn.Module, int] = WeakKeyDictionary()  # of a StageMap's caller
_MOST = 0.75  # a child with more of the layers than this would be too coarse a stage


def stage_rule(rule: StageRule) -> StageRule:
    """Registers a rule for a family of backbones; later rules are asked first.

    Args:
        rule: Takes a module; returns its stages in order from input to output as pairs of a name
            and a list of prefixes, or None when the module is not of this family. A block that
            was added to one of its stages is the stage ``<stage>.block``.

    Returns:
        The rule itself, so that this works as a decorator.

    Examples:
        >>> from torch import nn
        >>> from mmbackbone_plugins import StageMap, stage_rule
        >>> @stage_rule
        ... def trunk_net(module):
        ...     if hasattr(module, 'trunk'):
        ...         return [('stage1', ['stem', 'trunk.0']), ('stage2', ['trunk.1'])]
        >>> trunk = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        >>> StageMap.of(nn.ModuleDict(dict(stem=nn.Linear(2, 4), trunk=trunk)), target='')
        StageMap(stage1: 4 tensors, stage2: 2 tensors)
    """
    _RULES.insert(0, rule)
    return rule


def divide(module: nn.Module) -> Division:
    """The stages of a module: its own word, the rule of its family, or its children.

    Children are in the order in which a forward pass first uses their parameters. The items of a
    ``ModuleList`` are taken one by one, and a child that holds more than three quarters of the
    layers, such as the wrapped network or an ``nn.Sequential`` of all stages, is divided itself.
    """
    return _known(module) or _by_children(module, module, '') or [('all', [''])]


def divide_inside(module: nn.Module, ask: bool = True) -> tuple[str, Division]:
    """The same, looking through wrappers that only hold another module: its path, its stages.

    Args:
        module: The module.
        ask: Whether its own word counts.
    """
    prefix, inner = '', module
    while not _known(inner, ask):
        held = [(n, c) for n, c in inner.named_children() if holds_parameters(c)]
        if (
            _own_parameters(inner)
            or len(held) != 1
            or _is_list(held[0][1])
            or not children_of(held[0][1])
        ):
            break
        prefix, inner = f'{prefix}{held[0][0]}.', held[0][1]
    return prefix, _known(inner, ask) or _by_children(inner, module, prefix) or [('all', [''])]


def set_vit_stages(module: nn.Module, count: int) -> None:
    """Divides the blocks of a ViT into so many groups, from now on.

    Args:
        module: The ViT, or a module that wraps it.
        count: The number of groups; four unless it is said.

    Raises:
        ValueError: If it is less than 1 or more than there are blocks, or there is no ViT.
    """
    found = None if _describes_itself(module) else next(filter(_vit, module.modules()), None)
    if found is None:
        raise ValueError(
            f'vit_stages={count!r}: {type(module).__name__} has no row of equal blocks behind a '
            'patch embedding; leave it out'
        )
    blocks = len(_around_row(found)[1])
    _VIT_STAGES[found] = whole_number(
        'vit_stages', count, allowed=f'a number from 1 to {blocks}, the blocks', most=blocks
    )


def children_of(module: nn.Module) -> list[str]:
    """Names of a module's children."""
    return [name for name, _ in module.named_children()]


def holds_parameters(module: nn.Module) -> bool:
    """Whether there is a parameter in a module or below."""
    return next(module.parameters(), None) is not None


# What the parts in a row are called: children with a number, or the items of a list.
_ROW = re.compile(r'(?:layers?|stages?|blocks?|encoder|network|conv_res_block|s)[._]?(\d+)')
# What goes with the part of the same number: output norms and the like, the items of other lists.
_BESIDE = re.compile(r'(?:norm|patch_embed|transition)(\d+)|(?!stem).*\.(\d+)')


@stage_rule
def _row_of_stages(module: nn.Module) -> Optional[Division]:
    """``layer1``, ``layer2``, ...; ``stages.0``, ``stages.1``, ...; ``block1``, ``block2``, ...

    ResNet and its relatives, Swin, EfficientNet, CSP nets, HRNet, PVT, LSKNet, ... What is before
    the row is the stem, and what is after it belongs to the last stage.
    """
    before, row, after = _around_row(module)
    if len(row) < 2 or _is_uniform(row):
        return None
    numbers = {_number(_ROW, path) for path, _ in row}
    beside = {path: n for path, _ in before + after if (n := _number(_BESIDE, path)) in numbers}
    stem = [(path, child) for path, child in before if path not in beside]
    has_stem = _own_parameters(module) or any(holds_parameters(child) for _, child in stem)
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
    has_stem = _own_parameters(module) or any(holds_parameters(child) for _, child in before)
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


_Parts = list[tuple[str, nn.Module]]


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


def _own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _describes_itself(module: nn.Module) -> bool:
    # Asked of the class: LoRAModel of MMPretrain answers for the attributes of what it wraps.
    return hasattr(type(module), 'stage_prefixes')


def _known(module: nn.Module, ask: bool = True) -> Optional[Division]:
    if ask and _describes_itself(module):
        return cast(Any, module).stage_prefixes()
    return next((found for rule in _RULES if (found := rule(module)) is not None), None)


def _by_children(module: nn.Module, whole: nn.Module, prefix: str) -> Division:
    """Any module, which is at ``prefix`` of the target; in the order of the target's forward."""
    division = list(_parts(module, '', _layers(module)))
    if len(division) < 2 or isinstance(module, nn.ModuleList) or type(module) is nn.Sequential:
        return division  # there is no other order
    if sorted(_ORDERED.get(whole, ())) != sorted(division):
        _ORDERED[whole] = _in_order_of_use(division, whole, prefix)
    return _ORDERED[whole]


def _in_order_of_use(division: Division, whole: nn.Module, prefix: str) -> Division:
    try:
        uses = first_uses(whole)
    except RuntimeError as error:
        warnings.warn(
            f'stages of {type(whole).__name__}: no rule knows it, and a forward pass cannot be '
            f'traced ({error}). They are in the order in which its children are registered; a '
            'stage_rule says better',
            stacklevel=2,
        )
        return division
    keys, latest = {}, -1
    for name, prefixes in division:
        inside = tuple(f'{prefix}{p}.' for p in prefixes)
        times = [time for used, time in uses.items() if f'{used}.'.startswith(inside)]
        # What the pass does not reach stays behind the part that is registered before it.
        keys[name] = latest = min(times, default=latest)
    ordered = sorted(division, key=lambda part: keys[part[0]])
    warnings.warn(
        f'stages of {type(whole).__name__}: no rule knows it, so they are its children in the '
        f'order of a traced forward pass: {", ".join(name for name, _ in ordered)}. A stage_rule '
        'says better',
        stacklevel=2,
    )
    return ordered


def _parts(module: nn.Module, path: str, layers: int) -> Iterator[tuple[str, list[str]]]:
    for name, child in module.named_children():
        here = f'{path}{name}'
        if not holds_parameters(child):
            continue
        coarse = _layers(child) > _MOST * layers and any(map(holds_parameters, child.children()))
        known = _known(child) if coarse else None
        if known:
            for stage, prefixes in known:
                yield f'{here}.{stage}', [f'{here}.{p}'.rstrip('.') for p in prefixes]
        elif coarse or (isinstance(child, nn.ModuleList) and not path):
            yield from _parts(child, f'{here}.', layers)
        else:
            yield here, [here]


def _layers(module: nn.Module) -> int:
    """Number of modules with parameters of their own."""
    return sum(next(m.parameters(recurse=False), None) is not None for m in module.modules())


def _is_list(module: nn.Module) -> bool:
    """Whether a module only lists others; one of timm's ModuleDicts is the network itself."""
    lists = isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return lists and type(module).forward is nn.Module.forward
