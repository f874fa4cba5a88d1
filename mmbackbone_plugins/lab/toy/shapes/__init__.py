"""Object shapes of the toy scenes, one drawing function each, listed in :data:`SHAPES`.

A new shape is one more decorated function in a module imported here.
"""

from . import buildings, fields, vehicles  # noqa: F401  (importing fills SHAPES)
from .base import SHAPES, Part, Shape

__all__ = ['SHAPES', 'Part', 'Shape']
