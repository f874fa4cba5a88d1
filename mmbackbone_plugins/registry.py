"""The registry of freezing schedules.

Hooks and modules of this package are registered in mmengine's *root* registries, so that their
plain names resolve from the ``mmdet`` and the ``mmrotate`` scope alike. Schedules are a kind of
object that mmengine has no registry for; this is theirs.
"""

from mmengine.registry import Registry

FREEZING_SCHEDULES = Registry('freezing_schedule', scope='mmbackbone_plugins')
