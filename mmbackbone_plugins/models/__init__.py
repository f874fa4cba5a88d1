"""Modules that configs name: blocks, the backbone that holds them, a ResNet of other widths.

Nothing of MMDetection is imported before its use.
"""

from typing import Any

from mmengine.registry import MODELS

from .families import StageOutput, on_map, on_tokens, stage_output_rule, stage_outputs
from .mona import Mona
from .residual_adapter import ResidualAdapter
from .se_block import SEBlock
from .stage_block_backbone import StageBlockBackbone

__all__ = [
    'Mona',
    'ResidualAdapter',
    'SEBlock',
    'StageBlockBackbone',
    'StageOutput',
    'WidthResNet',
    'on_map',
    'on_tokens',
    'stage_output_rule',
    'stage_outputs',
]


@MODELS.register_module(name='WidthResNet')
def _width_resnet(*args: Any, **options: Any) -> Any:
    """What configs name: importing the class itself imports mmdet, which it derives from."""
    from .width_resnet import WidthResNet

    return WidthResNet(*args, **options)


def __getattr__(name: str) -> Any:
    """Imports on first use what derives from a class of mmdet's; the package above uses it too."""
    if name == 'WidthResNet':
        from .width_resnet import WidthResNet

        return WidthResNet
    raise AttributeError(f'the package has no attribute {name!r}')
