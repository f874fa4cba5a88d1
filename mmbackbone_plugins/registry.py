"""The registry of freezing schedules, and files of safetensors in mmengine's.

Hooks and modules of this package are registered in mmengine's *root* registries, so that their
plain names resolve from the ``mmdet`` and the ``mmrotate`` scope alike. Schedules are a kind of
object that mmengine has no registry for; this is theirs.
"""

from typing import Any, Optional

from mmengine.registry import Registry
from mmengine.runner import CheckpointLoader

from .utils.checkpoints import read_safetensors

FREEZING_SCHEDULES = Registry('freezing_schedule', scope='mmbackbone_plugins')


def find(registry: Registry, kind: Any) -> Optional[Any]:
    """What a config's ``type`` stands for in a root registry, from the current scope, or None."""
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as found:
        try:
            return found.get(kind)
        except RuntimeError:  # of a dotted path to nowhere
            return None


def registered_names(registry: Registry) -> list[str]:
    """The names that a config can use without a scope, those of the default scope first."""
    names: list[str] = []
    with registry.switch_scope_and_registry(None) as found:
        while found is not None:
            names += found.module_dict
            found = found.parent
    return names


# For load_from and init_cfg; addresses are left to mmengine. force: a reload may come again.
@CheckpointLoader.register_scheme(r'(?!.*://).*\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Reads a file of safetensors wherever mmengine loads a checkpoint."""
    return read_safetensors(filename, map_location)
