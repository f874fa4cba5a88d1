"""Configs of blocks, and what is wrong with them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS

from ..registry import find, registered_names
from ..utils.names import nearest
from ..utils.untouched import untouched_random_numbers


def require_config(name: str, value: Any, example: str) -> None:
    """Refuses what is no config of a module."""
    if not isinstance(value, Mapping) or 'type' not in value:
        raise ValueError(f'{name} must be a config such as {example}, got {value!r}')


def backbone_class(config: Mapping[str, Any]) -> type:
    """The class of what a config of a backbone builds; a ValueError if it is not registered."""
    with MODELS.switch_scope_and_registry(config.get('_scope_')):
        kind = _registered('backbone', config['type'])
    if isinstance(kind, type):
        return kind
    with untouched_random_numbers():  # a function: what it builds says it
        return type(MODELS.build(dict(config)))


def block_configs(
    block: Any, per_stage: Mapping[str, Sequence[Any]], stages: Sequence[str]
) -> list[dict[str, Any]]:
    """The config of the block of each stage."""
    if not isinstance(per_stage, Mapping):
        raise ValueError(
            f'per_stage must be a dict such as dict(reduction=[4, 8, 16, 32]), got {per_stage!r}'
        )
    for option, values in per_stage.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f'per_stage[{option!r}] must be a list, got {values!r}')
        if len(values) != len(stages):
            raise ValueError(
                f'per_stage[{option!r}] must have one value for each of {", ".join(stages)}, got '
                f'{len(values)}: {list(values)!r}'
            )
    if both := sorted(set(block) & set(per_stage)):
        raise ValueError(f'{", ".join(both)} is given twice, in block and in per_stage')
    configs = [
        {**block, **{option: values[i] for option, values in per_stage.items()}}
        for i in range(len(stages))
    ]
    kind = _block_class(block['type'])
    accepted = _accepted(kind)
    for option in configs[0]:
        if option != 'type' and not {option, '**'} & accepted:
            raise ValueError(
                f'{kind.__name__} has no option {option!r}; it has: '
                f'{", ".join(sorted(accepted - {"in_channels"}))}'
            )
    return configs


def _block_class(kind: Any) -> type:
    found = _registered('block', kind)
    if not {'in_channels', '**'} & _accepted(found):
        raise ValueError(
            f'{found.__name__} cannot be a block: it takes no argument in_channels, but '
            f'{", ".join(sorted(_accepted(found)))}'
        )
    return found


def _registered(what: str, kind: Any) -> Any:
    found = find(MODELS, kind)
    if found is None:
        near = nearest(kind, registered_names(MODELS))
        raise ValueError(f'{what} type {kind!r} is not registered in MODELS{near}')
    return found


def _accepted(kind: type) -> set[str]:
    """Names of the options of a class; ``'**'`` if it takes any."""
    parameters = inspect.signature(kind).parameters.values()
    return {'**' if p.kind is p.VAR_KEYWORD else p.name for p in parameters}


def refuse_block_options(block: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """An option of the block beside ``block`` would be taken for one of the backbone."""
    misplaced = sorted(set(options) & _accepted(_block_class(block['type'])))
    if misplaced:
        raise ValueError(
            f'{", ".join(misplaced)} is an option of {block["type"]}: put it into block, or a '
            'list with a value for each stage into per_stage'
        )
