"""The registry of freezing schedules, and files of safetensors in mmengine's.

Hooks and modules of this package are registered in mmengine's *root* registries, so that their
plain names resolve from the ``mmdet`` and the ``mmrotate`` scope alike. Schedules are a kind of
object that mmengine has no registry for; this is theirs.
"""

from typing import Any

from mmengine.registry import Registry
from mmengine.runner import CheckpointLoader

from .checkpoints import read_safetensors

FREEZING_SCHEDULES = Registry('freezing_schedule', scope='mmbackbone_plugins')


# For load_from and init_cfg; addresses are left to mmengine. force: a reload may come again.
@CheckpointLoader.register_scheme(r'(?!.*://).*\.safetensors$', force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Reads a file of safetensors wherever mmengine loads a checkpoint."""
    return read_safetensors(filename, map_location)
