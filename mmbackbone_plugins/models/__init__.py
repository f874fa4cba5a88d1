"""Modules that a detector's config can name. Nothing of MMDetection is imported before its use."""

from typing import Any

from mmengine.registry import MODELS

__all__ = ['WidthResNet']


@MODELS.register_module(name='WidthResNet', force=True)
def _width_resnet(*args: Any, **options: Any) -> Any:
    """Stands in the registry for the class until mmdet, which it derives from, is needed."""
    from .width_resnet import WidthResNet  # from now on the registry holds the class

    return WidthResNet(*args, **options)


def __getattr__(name: str) -> Any:
    if name == 'WidthResNet':
        from .width_resnet import WidthResNet

        return WidthResNet
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
