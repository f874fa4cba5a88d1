"""Modules that configs name: blocks, the backbone that holds them, other backbones, a neck."""

from importlib import import_module
from typing import Any

from mmengine.registry import MODELS

from .families import StageOutput, on_map, on_tokens, stage_output_rule, stage_outputs
from .mona import Mona
from .residual_adapter import ResidualAdapter
from .se_block import SEBlock
from .simple_feature_pyramid import SimpleFeaturePyramid
from .stage_block_backbone import StageBlockBackbone

__all__ = [
    'EfficientNetLite',
    'Mona',
    'ResidualAdapter',
    'SEBlock',
    'SimpleFeaturePyramid',
    'StageBlockBackbone',
    'StageOutput',
    'WidthResNet',
    'on_map',
    'on_tokens',
    'stage_output_rule',
    'stage_outputs',
]


# What derives from a class of mmdet's is imported on first use; the package above uses it too.
_LATE = {'EfficientNetLite': 'efficientnet_lite', 'WidthResNet': 'width_resnet'}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(f'.{_LATE[name]}', __name__), name)
    raise AttributeError(f'the package has no attribute {name!r}')


@MODELS.register_module(name='EfficientNetLite')
def _efficientnet_lite(*args: Any, **options: Any) -> Any:
    """Stands in the registry for the class, so that mmdet is imported when it is needed."""
    return __getattr__('EfficientNetLite')(*args, **options)


@MODELS.register_module(name='WidthResNet')
def _width_resnet(*args: Any, **options: Any) -> Any:
    """The same."""
    return __getattr__('WidthResNet')(*args, **options)
