"""Stages: the named, ordered parts of a backbone that freeze, are measured or held back as one.

A :class:`StageMap` assigns every parameter of a target module to exactly one stage, ordered from
the input to the output: ``stem``, ``stage1``, ``stage2``, ... so that ``frozen_stages=1`` of
MMDetection means ``stem`` and ``stage1``. Backbones without a rule are divided by their children,
in the order of a traced forward pass.

A new family is one function with the decorator :func:`stage_rule`. A module can also describe
itself with a method ``stage_prefixes()`` that returns what a rule returns.
"""

from .rules import _RULES, Division, StageRule, divide_inside, stage_rule
from .stage_map import Stage, StageMap, find_module

__all__ = [
    '_RULES',
    'Division',
    'Stage',
    'StageMap',
    'StageRule',
    'divide_inside',
    'find_module',
    'stage_rule',
]
