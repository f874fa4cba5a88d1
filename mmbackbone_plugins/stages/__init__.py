"""Stages: the named, ordered parts of a backbone that freeze, are measured or held back as one.

They are ``stem``, ``stage1``, ``stage2``, ..., so that ``frozen_stages=1`` of MMDetection means
``stem`` and ``stage1``. A new family is one function with the decorator :func:`stage_rule`. A
module can also describe itself with a method ``stage_prefixes()`` that returns what a rule returns.
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
