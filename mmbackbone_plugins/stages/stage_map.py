"""The stages of one or several targets of a model, and what is in each."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional, Union

from torch import nn

from ..utils.names import nearest
from .families import set_vit_stages
from .rules import children_of, divide_inside, holds_parameters


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Its name; with several targets ``<target>.<name>``.
        parameters: Names of its parameters in the model, in registration order.
        modules: Names of its submodules in the model.
        is_block: Whether it was added to a stage of the original backbone (an SE block or an
            adapter of ``StageBlockBackbone``, the parameters of MMPretrain's ``LoRAModel``), so
            that schedules leave it trainable unless told otherwise.

    Examples:
        >>> from mmbackbone_plugins import Stage
        >>> stage = Stage('stage1', ('backbone.conv.weight',), ('backbone.conv',))
        >>> stage.name, stage.is_block
        ('stage1', False)
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]
    is_block: bool = False


class StageMap:
    """Stages of one or several target modules of a model, ordered from input to output.

    Args:
        stages: The stages. A parameter may be in one stage only.
        targets: Names of the targets in the model.
        containers: Names of modules of the targets that hold several stages, the targets
            themselves among them, each with those stages.

    Raises:
        ValueError: If two stages share a name or a parameter.

    Examples:
        >>> from torch import nn
        >>> from mmbackbone_plugins import StageMap
        >>> backbone = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, bias=False))
        >>> stage_map = StageMap.of(nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(2, 1))))
        >>> stage_map
        StageMap(0: 2 tensors, 1: 1 tensors)
        >>> stage_map.stage_of('backbone.1.weight')
        '1'
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        targets: Sequence[str] = (),
        containers: Optional[Mapping[str, frozenset[str]]] = None,
    ) -> None:
        self.targets = tuple(targets)
        self.containers = dict(containers or {})
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
    def of(
        cls,
        model: nn.Module,
        target: Union[str, Sequence[str]] = 'backbone',
        vit_stages: Optional[int] = None,
    ) -> 'StageMap':
        """Divides the target modules of a model, which has no distributed wrapper, into stages.

        Args:
            model: The model; names are those of its parameters and modules.
            target: Dotted path of a module of the model, or a list of them. ``''`` is the model.
            vit_stages: Number of groups that the blocks of a ViT are divided into, four unless
                it is said. Later maps of the same modules go by it, so that all hooks of a run
                mean the same stages.

        Raises:
            ValueError: If a target does not exist, holds no parameter, or lies inside another, or
                ``vit_stages`` is given and a target is no ViT or has fewer blocks.
        """
        targets = [target] if isinstance(target, str) else list(target)
        if not targets:
            raise ValueError('target is an empty list; name at least one module, e.g. "backbone"')
        _refuse_overlap(targets)
        owned = {name for name, _ in model.named_parameters()}  # shared ones under one name only
        stages: list[Stage] = []
        containers: dict[str, frozenset[str]] = {}
        for path in targets:
            label = f'{path}.' if len(targets) > 1 else ''
            if vit_stages is not None:
                set_vit_stages(find_module(model, path), vit_stages)
            found, spanning = _stages_of_target(model, path, label, owned)
            stages += found
            containers.update((m, _inside(m, found)) for m in spanning)
        return cls(stages, targets, containers)

    @property
    def names(self) -> tuple[str, ...]:
        """Stage names in order from input to output."""
        return tuple(self._stages)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, stage by stage."""
        return tuple(self._stage_of)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of all modules, those that hold several stages first."""
        return (*self.containers, *(m for stage in self for m in stage.modules))

    def set_apart(
        self, name: str, parameters: Collection[str], modules: Collection[str]
    ) -> 'StageMap':
        """A map in which these are the last stage; stages that lose everything to it are gone."""
        new = Stage(
            name,
            tuple(p for p in self.parameters if p in parameters),
            tuple(m for m in self.modules if m in modules),
        )
        rest = [
            replace(
                stage,
                parameters=tuple(p for p in stage.parameters if p not in parameters),
                modules=tuple(m for m in stage.modules if m not in modules),
            )
            for stage in self
        ]
        rest = [stage for stage in rest if stage.parameters or stage.modules]
        containers = {m: inside for m, inside in self.containers.items() if m not in modules}
        return StageMap([*rest, new], self.targets, containers)

    def stage_of(self, parameter: str) -> str:
        """Name of the stage that holds a parameter; a KeyError if none does."""
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
    """The submodule at a dotted path; a ValueError names what is missing, and what there is."""
    module = model
    walked: list[str] = []
    for part in path.split('.') if path else []:
        children = children_of(module)
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


def _stages_of_target(
    model: nn.Module, path: str, label: str, owned: set
) -> tuple[list[Stage], list[str]]:
    """The stages of a target, and the names of its modules that are in none: they span several."""
    module = find_module(model, path)
    root = f'{path}.' if path else ''
    if not holds_parameters(module):
        raise ValueError(
            f'target {path!r} ({type(module).__name__}) has no parameters, so there is nothing to '
            'freeze or measure; name a module that has some'
        )
    inner, division = divide_inside(module)
    prefixes = {f'{inner}{p}'.rstrip('.'): name for name, ps in division for p in ps}
    names = [name for name, _ in division]
    # Said by a rule or by the module; a child that is only called so has no such stage beside it.
    blocks = {n for n in names if n.endswith('.block') and n.removesuffix('.block') in names}
    parameters = _assign((n for n, _ in module.named_parameters()), prefixes, names[0])
    spanning = {p[:i] for p in prefixes for i, c in enumerate(p) if c == '.'}
    # The target itself is a stage only when it is a single one, such as one norm layer.
    spanning = spanning - {''} if '' in prefixes else spanning | {''}
    inside = [n for n, _ in module.named_modules()]
    modules = _assign((n for n in inside if n not in spanning), prefixes, names[0])
    lora = _added_by_lora(model)
    # Parameters and modules of each stage; dicts keep their order.
    members: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        members.setdefault(name, ([], []))
        for kind, assigned in enumerate((parameters, modules)):
            for inner_name in assigned.get(name, ()):
                full = f'{root}{inner_name}' if inner_name else path
                stage = name
                if name not in blocks and lora(full):
                    stage = f'{name}.block'
                    blocks.add(stage)
                members.setdefault(stage, ([], []))[kind].append(full)
    found = []
    for name, (held, parts) in members.items():
        own = tuple(p for p in held if p in owned)
        if own:
            found.append(Stage(f'{label}{name}', own, tuple(parts), name in blocks))
    return found, [f'{root}{n}' if n else path for n in inside if n in spanning]


def _added_by_lora(model: nn.Module) -> Callable[[str], bool]:
    """Whether a parameter or module of this name was put there by a LoRAModel of MMPretrain."""
    wrappers = tuple(
        f'{name}.'.lstrip('.')
        for name, module in model.named_modules()
        if any(kind.__name__ == 'LoRAModel' for kind in type(module).__mro__)
    )
    return lambda name: name.startswith(wrappers) and '.lora_' in f'.{name}'


def _inside(container: str, stages: Iterable[Stage]) -> frozenset[str]:
    start = f'{container}.'.lstrip('.')
    return frozenset(s.name for s in stages if any(m.startswith(start) for m in s.modules))


def _assign(names: Iterable[str], prefixes: dict[str, str], first: str) -> dict[str, list[str]]:
    """Sorts names into stages by their longest matching prefix: each is in exactly one."""
    assigned: dict[str, list[str]] = {}
    current = first
    for name in names:
        parts = name.split('.')
        starts = ('.'.join(parts[:length]) for length in range(len(parts), -1, -1))
        # What none matches (a class token, a pooling layer) joins what is registered before it.
        current = next((prefixes[start] for start in starts if start in prefixes), current)
        assigned.setdefault(current, []).append(name)
    return assigned
