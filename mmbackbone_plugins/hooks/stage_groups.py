"""An optimizer with one group of parameters a stage."""

from typing import Any, Optional

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..stages import StageMap
from .checks import check_target


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StageOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, but that parameters of one stage with equal settings are one group.

    mmengine makes one group of everything or, with ``paramwise_cfg``, one of every parameter, which
    an optimizer steps through one by one. The rest of the model is one group more.

    Args:
        optim_wrapper_cfg: See mmengine.
        paramwise_cfg: See mmengine; besides ``target``, the module that is divided into stages, a
            dotted path or a list of them, default ``'backbone'``.

    Examples:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
        ...     constructor='StageOptimWrapperConstructor',
        ... )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None) -> None:
        settings = dict(paramwise_cfg or {})
        self.target = check_target(settings.pop('target', 'backbone'))
        # Anything in it makes mmengine look at parameters one by one.
        super().__init__(optim_wrapper_cfg, {'custom_keys': {}, **settings})

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **options: Any
    ) -> None:
        """Adds the groups of a module; those of the whole model are put together at the end."""
        super().add_params(params, module, prefix, **options)
        if prefix:
            return
        stage_of = {n: s.name for s in StageMap.of(module, self.target) for n in s.parameters}
        place = {id(p): stage_of.get(n, '') for n, p in module.named_parameters()}
        merged: dict[tuple, dict] = {}
        for group in params:
            (parameter,) = group['params']
            settings = {k: v for k, v in group.items() if k != 'params'}
            key = (place[id(parameter)], repr(sorted(settings.items())))
            merged.setdefault(key, {**settings, 'params': []})['params'].append(parameter)
        params[:] = merged.values()
