"""Stages: the named, ordered parts of a backbone that freeze, are measured or held back as one.

A :class:`StageMap` assigns every parameter of a target module to exactly one stage, ordered from
the input to the output: ``stem``, ``stage1``, ``stage2``, ... so that ``frozen_stages=1`` of
MMDetection means ``stem`` and ``stage1``. Backbones without a rule are divided by their children.

A new family is one function with the decorator :func:`stage_rule`. A module can also describe
itself with a method ``stage_prefixes()`` that returns what a rule returns.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Union

from torch import nn

from .names import nearest

# A rule divides a module: stage names in order, each with the prefixes (of parameters and
# submodules, relative to the module) that belong to it. None: not a module of this family.
Division = list[tuple[str, list[str]]]
StageRule = Callable[[nn.Module], Optional[Division]]

_RULES: list[StageRule] = []


def stage_rule(rule: StageRule) -> StageRule:
    """Registers a rule for a family of backbones; later rules are asked first.

    Args:
        rule: Takes a module; returns its stages in order from input to output as pairs of a name
            and a list of prefixes, or None when the module is not of this family.

    Returns:
        The rule itself, so that this works as a decorator.
    """
    _RULES.insert(0, rule)
    return rule


def _children(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


@stage_rule
def _by_children(module: nn.Module) -> Optional[Division]:
    """Any module: every child that holds parameters; the items of a ModuleList one by one."""
    division: Division = []
    for name, child in module.named_children():
        items = child.named_children() if isinstance(child, nn.ModuleList) else [('', child)]
        for number, item in items:
            if _holds_parameters(item):
                path = f'{name}.{number}'.rstrip('.')
                division.append((path, [path]))
    return division or None


@stage_rule
def _resnet(module: nn.Module) -> Optional[Division]:
    """ResNet, ResNeXt, Res2Net, ResNeSt, RegNet, ...: a stem and ``layer1``, ``layer2``, ..."""
    children = _children(module)
    layers = sorted((n for n in children if re.fullmatch(r'layer\d+', n)), key=lambda n: int(n[5:]))
    if len(layers) < 2 or layers[0] != 'layer1':
        return None
    stem = children[: children.index('layer1')]
    return [('stem', stem)] + [(f'stage{i}', [n]) for i, n in enumerate(layers, start=1)]


@stage_rule
def _swin(module: nn.Module) -> Optional[Division]:
    """Swin: patch embedding as the stem; a stage has its blocks, downsampling and output norm."""
    if not {'patch_embed', 'stages'} <= set(_children(module)):
        return None
    division: Division = [('stem', ['patch_embed', 'absolute_pos_embed', 'drop_after_pos'])]
    for i in range(len(module.stages)):
        division.append((f'stage{i + 1}', [f'stages.{i}', f'norm{i}']))
    return division


@stage_rule
def _convnext(module: nn.Module) -> Optional[Division]:
    """ConvNeXt: each downsampling layer but the first (the stem) opens the stage it feeds."""
    if not {'downsample_layers', 'stages'} <= set(_children(module)):
        return None
    division: Division = [('stem', ['downsample_layers.0'])]
    for i in range(len(module.stages)):
        downsample = [f'downsample_layers.{i}'] if i else []
        division.append((f'stage{i + 1}', downsample + [f'stages.{i}', f'norm{i}']))
    return division


@stage_rule
def _numbered_blocks(module: nn.Module) -> Optional[Division]:
    """LSKNet and its relatives: ``patch_embed1``, ``block1``, ``norm1``, ``patch_embed2``, ..."""
    children = set(_children(module))
    count = 0
    while {f'patch_embed{count + 1}', f'block{count + 1}'} <= children:
        count += 1
    numbers = range(1, count + 1)
    return [(f'stage{i}', [f'patch_embed{i}', f'block{i}', f'norm{i}']) for i in numbers] or None


def _holds_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def divide(module: nn.Module) -> Division:
    """The stages of a module: its own word, or the rule of its family; else one, ``all``."""
    if hasattr(module, 'stage_prefixes'):
        return module.stage_prefixes()
    for rule in _RULES:
        division = rule(module)
        if division is not None:
            return division
    return [('all', [''])]


def _divide(module: nn.Module) -> tuple[str, Division]:
    """Finds the division of a module; looks through wrappers that only hold another module."""
    prefix = ''
    while True:
        if hasattr(module, 'stage_prefixes'):
            break
        held = [(n, c) for n, c in module.named_children() if _holds_parameters(c)]
        own = next(module.parameters(recurse=False), None) is not None
        if own or len(held) != 1 or isinstance(held[0][1], (nn.ModuleList, nn.ModuleDict)):
            break
        if not _children(held[0][1]):
            break
        prefix, module = f'{prefix}{held[0][0]}.', held[0][1]
    return prefix, divide(module)


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Its name; with several targets ``<target>.<name>``.
        parameters: Names of its parameters in the model, in registration order.
        modules: Names of its submodules in the model.
        is_block: Whether it is a block put after a stage of the original backbone (an SE block or
            an adapter), which schedules leave trainable unless told otherwise.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def is_block(self) -> bool:
        return self.name.endswith('.block')


class StageMap:
    """Stages of one or several target modules of a model, ordered from input to output.

    Args:
        stages: The stages. A parameter may be in one stage only.

    Raises:
        ValueError: If two stages share a name or a parameter.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._stages: dict[str, Stage] = {}
        self._stage_of: dict[str, str] = {}
        for stage in stages:
            if stage.name in self._stages:
                raise ValueError(f'two stages are named {stage.name!r}')
            self._stages[stage.name] = stage
            for parameter in stage.parameters:
                other = self._stage_of.setdefault(parameter, stage.name)
                if other != stage.name:
                    raise ValueError(
                        f'parameter {parameter!r} is in two stages, {other!r} and {stage.name!r}'
                    )

    @classmethod
    def of(cls, model: nn.Module, target: Union[str, Sequence[str]] = 'backbone') -> 'StageMap':
        """Divides the target modules of a model into stages.

        Args:
            model: A model without a distributed wrapper.
            target: Dotted path of a module of the model, or a list of them. ``''`` is the model.

        Returns:
            The map. Parameter and module names are those of ``model``.

        Raises:
            ValueError: If a target does not exist, holds no parameter, or lies inside another.
        """
        targets = [target] if isinstance(target, str) else list(target)
        if not targets:
            raise ValueError('target is an empty list; name at least one module, e.g. "backbone"')
        _refuse_overlap(targets)
        owned = {name for name, _ in model.named_parameters()}  # shared ones under one name only
        stages: list[Stage] = []
        for path in targets:
            label = f'{path}.' if len(targets) > 1 else ''
            stages += _stages_of_target(model, path, label, owned)
        return cls(stages)

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names in order from input to output."""
        return tuple(self._stages)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, stage by stage."""
        return tuple(self._stage_of)

    def stage_of(self, parameter: str) -> str:
        """Name of the stage that holds a parameter.

        Raises:
            KeyError: If no stage holds it.
        """
        return self._stage_of[parameter]

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages.values())

    def __len__(self) -> int:
        return len(self._stages)

    def __repr__(self) -> str:
        inside = ', '.join(f'{s.name}: {len(s.parameters)} tensors' for s in self)
        return f'StageMap({inside})'


def find_module(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path.

    Raises:
        ValueError: If there is none; the message names the part that is missing and what exists.
    """
    module = model
    walked: list[str] = []
    for part in path.split('.') if path else []:
        children = _children(module)
        if part not in children:
            where = f'{".".join(walked)!r}' if walked else f'the model ({type(model).__name__})'
            raise ValueError(
                f'target {path!r} does not exist: {where} has no module '
                f'{part!r}{nearest(part, children)}. It has: {", ".join(children) or "no modules"}.'
            )
        module = getattr(module, part)
        walked.append(part)
    return module


def _refuse_overlap(targets: Sequence[str]) -> None:
    for i, first in enumerate(targets):
        for second in targets[i + 1 :]:
            short, long = sorted((first, second), key=len)
            if short == long or short == '' or long.startswith(f'{short}.'):
                raise ValueError(f'targets overlap: {short!r} contains {long!r}; name one of them')


def _stages_of_target(model: nn.Module, path: str, label: str, owned: set) -> list[Stage]:
    module = find_module(model, path)
    root = f'{path}.' if path else ''
    if not _holds_parameters(module):
        raise ValueError(
            f'target {path!r} ({type(module).__name__}) has no parameters, so there is nothing to '
            'freeze or measure; name a module that has some'
        )
    inner, division = _divide(module)
    prefixes = {f'{inner}{p}'.rstrip('.'): name for name, ps in division for p in ps}
    names = [name for name, _ in division]
    parameters = _assign((n for n, _ in module.named_parameters()), prefixes, names[0])
    # A container that spans stages (a ModuleList of them) is in none: it has no mode of its own.
    spanning = {p[:i] for p in prefixes for i, c in enumerate(p) if c == '.'}
    spanning.discard('')
    # The target itself counts only when it is a single stage, such as one norm layer.
    inside = (n for n, _ in module.named_modules() if (n or '' in prefixes) and n not in spanning)
    modules = _assign(inside, prefixes, names[0])
    found = []
    for name in names:
        held = tuple(f'{root}{p}' for p in parameters.get(name, ()) if f'{root}{p}' in owned)
        if held:
            members = tuple(f'{root}{m}' if m else path for m in modules.get(name, ()))
            found.append(Stage(f'{label}{name}', held, members))
    return found


def _assign(names: Iterable[str], prefixes: dict[str, str], first: str) -> dict[str, list[str]]:
    """Sorts names into stages by their longest matching prefix.

    What no prefix matches (a class token, a pooling layer) joins the stage registered before it,
    or the first stage when there is none: every name is in exactly one stage.
    """
    assigned: dict[str, list[str]] = {}
    current = first
    for name in names:
        parts = name.split('.')
        for length in range(len(parts), -1, -1):
            stage = prefixes.get('.'.join(parts[:length]))
            if stage is not None:
                current = stage
                break
        assigned.setdefault(current, []).append(name)
    return assigned
