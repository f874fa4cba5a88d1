"""Small drawn aerial scenes in the formats of DOTA and DIOR-R, for demos, tests and tutorials.

Needs numpy and OpenCV only. The scenes are no substitute for the real data: they make a detector
learn something in minutes on a CPU, with a known answer.
"""

from .classes import CLASSES, DEFAULT_CLASSES, DIOR_CLASSES, DOTA_CLASSES
from .dataset import make_toy_dataset, read_manifest, toy_settings
from .scenes import Scene, draw_scene
from .styles import STYLES

__all__ = [
    'CLASSES',
    'DEFAULT_CLASSES',
    'DIOR_CLASSES',
    'DOTA_CLASSES',
    'STYLES',
    'Scene',
    'draw_scene',
    'make_toy_dataset',
    'read_manifest',
    'toy_settings',
]
