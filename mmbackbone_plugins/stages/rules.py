"""How a module is divided: by its own word, by the rule of its family, or by its children."""

import warnings
from collections.abc import Iterator, MutableMapping
from typing import Any, Callable, Optional, cast
from weakref import WeakKeyDictionary

from torch import nn

from .trace import first_uses

# A rule divides a module: stage names in order, each with the prefixes (of parameters and
# submodules, relative to the module) that belong to it. None: not a module of this family.
# A stage '<other stage>.block' is a block that was added to that stage.
Division = list[tuple[str, list[str]]]
StageRule = Callable[[nn.Module], Optional[Division]]

_RULES: list[StageRule] = []
_ORDERED: MutableMapping[nn.Module, Division] = WeakKeyDictionary()  # tracing takes a while
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


def divide_inside(module: nn.Module, ask: bool = True) -> tuple[str, Division]:
    """The stages of a module: its own word (if that is to ``ask``), its family's, or its children.

    Children are in the order in which a forward pass first uses their parameters. The items of a
    ``ModuleList`` are taken one by one, and a child that holds more than three quarters of the
    layers, such as an ``nn.Sequential`` of all stages, is divided itself. Wrappers that only hold
    another module are looked through: with the stages comes the path of what is divided, with a dot
    behind it.
    """
    prefix, inner = '', module
    while not _known(inner, ask):
        held = [(n, c) for n, c in inner.named_children() if holds_parameters(c)]
        if own_parameters(inner) or len(held) != 1:
            break
        name, child = held[0]
        if _is_list(child) or not children_of(child):
            break
        prefix, inner = f'{prefix}{name}.', child
    return prefix, _known(inner, ask) or _by_children(inner, module, prefix) or [('all', [''])]


def children_of(module: nn.Module) -> list[str]:
    """Names of a module's children."""
    return [name for name, _ in module.named_children()]


def holds_parameters(module: nn.Module) -> bool:
    """Whether there is a parameter in a module or below."""
    return next(module.parameters(), None) is not None


def own_parameters(module: nn.Module) -> bool:
    """Whether a module has parameters that are in none of its children."""
    return next(module.parameters(recurse=False), None) is not None


def describes_itself(module: nn.Module) -> bool:
    """Whether a module has a method ``stage_prefixes()``."""
    # Asked of the class: LoRAModel of MMPretrain answers for the attributes of what it wraps.
    return hasattr(type(module), 'stage_prefixes')


def _known(module: nn.Module, ask: bool = True) -> Optional[Division]:
    if ask and describes_itself(module):
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
    return sum(map(own_parameters, module.modules()))


def _is_list(module: nn.Module) -> bool:
    """Whether a module only lists others; one of timm's ModuleDicts is the network itself."""
    lists = isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return lists and type(module).forward is nn.Module.forward
