"""Old import paths: they go on working until version 1.0, with a DeprecationWarning.

The package is divided into the plugin, which configs import, and :mod:`mmbackbone_plugins.lab`, the
studies on top of it. Modules that stood elsewhere before are found under their old names too, by
the table below and only when they are asked for. Nothing else outside the lab names it.
"""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any, Optional

# Old and new names below the package; what is inside a package that moved, moved with it.
MOVED = {
    'benchmarking': 'lab.benchmarking',
    'cost.inputs': 'lab.inputs',
    'datasets': 'lab.datasets',
    'datasets.classes': 'metrics.classes',
    'distortion.untouched': 'utils.untouched',
    'evaluation': 'metrics',
    'files': 'utils.files',
    'interruption': 'lab.interruption',
    'launch': 'lab.launch',
    'names': 'utils.names',
    'planning': 'lab.planning',
    'resume': 'lab.resume',
    'robustness': 'metrics',
    'sampling': 'utils.sampling',
    'sweeps': 'lab.sweeps',
    'toy': 'lab.toy',
    'visualization': 'lab.visualization',
    'zoo': 'lab.zoo',
}


def new_name(old: str) -> Optional[str]:
    """The present name of a module that has moved; None for all others."""
    parts = old.split('.')
    if parts[0] != __package__:
        return None
    for length in range(len(parts), 1, -1):
        new = MOVED.get('.'.join(parts[1:length]))
        if new is not None:
            return '.'.join([__package__, new, *parts[length:]])
    return None


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        new = new_name(name)
        return ModuleSpec(name, self, is_package=True) if new is not None else None

    def exec_module(self, module: Any) -> None:
        old = module.__name__
        new = new_name(old)
        assert new is not None
        warnings.warn(
            f'{old} has moved: import {new}. The old name goes with version 1.0.',
            DeprecationWarning,
            stacklevel=2,
        )
        # Not a second copy: the import system takes what stands here for the result.
        sys.modules[old] = import_module(new)


def install() -> None:
    """Makes the old names known to Python's import system, once."""
    if not any(type(finder) is _Finder for finder in sys.meta_path):
        # First: the path of a package that has moved would load its modules a second time.
        sys.meta_path.insert(0, _Finder())
