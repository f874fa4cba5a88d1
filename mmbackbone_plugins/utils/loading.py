"""Which parameters of a model come from a file: seen while the files are loaded.

The names in a file say little about that: modules rename, convert and resize what they find. So
every module notes what it is given, and the values are compared once everything is loaded.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import nn

from .names import type_name
from .untouched import untouched_random_numbers


@dataclass(frozen=True)
class WeightFile:
    """A file that a part of a model is initialised from."""

    module: str  # name of the part; ``''`` is the model
    path: str  # file or address
    prefix: Optional[str] = None  # of the names that are taken of it, without it; None: all

    def concerns(self, target: str) -> bool:
        """Whether it may fill a part of the module of this name."""
        inside, around = f'{self.module}.'.lstrip('.'), f'{target}.'.lstrip('.')
        return inside.startswith(around) or around.startswith(inside)

    def __str__(self) -> str:
        return f'{self.path!r} ({f"{self.module}.init_cfg" if self.module else "load_from"})'


class LoadRecord:
    """Notes what the parameters of a model are given by state dicts, until :meth:`close`.

    Parts that are initialised already were filled when they were built: of those with an
    ``init_cfg`` (MMPretrain's ``LoRAModel`` does so) a copy is initialised again to see how, all
    others (timm's, with ``pretrained=True``) are taken for loaded. The model is one without a
    wrapper, before its ``init_weights()``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._given: dict[int, torch.Tensor] = {}  # by identity of the parameter
        self._known: set[int] = set()
        for module in _initialised(model):
            if any(True for _ in weight_files(module)):
                self._known |= _filled_again(module)
            else:
                self._known |= {id(p) for p in module.parameters()}
        self._modules = {id(m) for m in model.modules()}
        self._handles = [
            m._register_load_state_dict_pre_hook(self._saw, with_module=True)
            for m in model.modules()
        ]

    def _saw(self, module: nn.Module, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if id(module) not in self._modules:
            return  # of a copy that somebody has made, such as an EMA's
        for name, parameter in module._parameters.items():
            found = state.get(f'{prefix}{name}')
            if parameter is not None and found is not None:
                self._given[id(parameter)] = found

    def __deepcopy__(self, memo: dict) -> 'LoadRecord':
        return self

    def close(self) -> dict[str, str]:
        """Ends the watch: parameters with values of no file, by name, with a reason if known."""
        for handle in self._handles:
            handle.remove()
        found = {}
        for name, parameter in self._model.named_parameters():
            if id(parameter) not in self._known:
                why = _difference(parameter, self._given.get(id(parameter)))
                if why is not None:
                    found[name] = why
        self._given, self._modules = {}, set()
        return found


def weight_files(model: nn.Module) -> Iterator[WeightFile]:
    """The files that the parts of a model are initialised from by ``init_cfg``."""
    for name, module in model.named_modules():
        configs = getattr(module, 'init_cfg', None) or []
        for config in [configs] if isinstance(configs, Mapping) else configs:
            path = config.get('checkpoint')
            if type_name(config) in ('Pretrained', 'PretrainedInit') and path:
                yield WeightFile(name, str(path), config.get('prefix'))


def _difference(parameter: torch.Tensor, given: Optional[torch.Tensor]) -> Optional[str]:
    if given is None:
        return ''
    if given.shape != parameter.shape and given.numel() * parameter.numel() != 1:
        return f'shape {tuple(given.shape)} in the file, {tuple(parameter.shape)} in the model'
    same = torch.equal(given.to(parameter).view_as(parameter), parameter.detach())
    return None if same else 'set anew after it was loaded'


def _initialised(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that mmengine has initialised before."""
    if getattr(model, 'is_init', False):
        yield model
    else:
        for child in model.children():
            yield from _initialised(child)


def _filled_again(module: nn.Module) -> set[int]:
    """The parameters that the files of an initialised module fill, found on a copy of it."""
    twin = copy.deepcopy(module)
    original = {id(p): q for p, q in zip(twin.parameters(), module.parameters())}
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if hasattr(child, 'lora_down') and hasattr(child, 'original_layer'):
                setattr(parent, name, child.original_layer)  # the file has it without LoRA
    for part in twin.modules():
        if hasattr(part, 'is_init'):
            setattr(part, '_is_init', False)  # noqa: B010
    record = LoadRecord(twin)
    with untouched_random_numbers():
        twin.init_weights()  # type: ignore[operator]
    missing = record.close()
    return {id(original[id(p)]) for n, p in twin.named_parameters() if n not in missing}
