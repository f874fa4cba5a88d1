"""Modules that configs name: blocks for a frozen backbone, and the backbone that holds them."""

from .families import StageOutput, on_map, on_tokens, stage_output_rule, stage_outputs
from .residual_adapter import ResidualAdapter
from .se_block import SEBlock
from .stage_block_backbone import StageBlockBackbone

__all__ = [
    'ResidualAdapter',
    'SEBlock',
    'StageBlockBackbone',
    'StageOutput',
    'on_map',
    'on_tokens',
    'stage_output_rule',
    'stage_outputs',
]
