"""Rebuilds the distributed wrapper when the set of trainable parameters changes.

``DistributedDataParallel`` fixes at construction which parameters it reduces. One that was frozen
then and trains later is never reduced: ranks drift apart without an error. One that trained then
and is frozen later makes the next iteration fail, unless ``find_unused_parameters=True``, which
goes on reducing every byte of the frozen backbone. A new wrapper around the same module is right
in both directions and reduces exactly what trains.
"""

from typing import Any, Optional

from mmengine.model import MMSeparateDistributedDataParallel, is_model_wrapper
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from .. import compat


def wrapper_conflict(model: nn.Module) -> Optional[str]:
    """Why a model's wrapper, if any, cannot follow a changing set of trainable parameters."""
    if not is_model_wrapper(model) or isinstance(model, DataParallel):
        return None
    name = type(model).__name__
    if isinstance(model, MMSeparateDistributedDataParallel):
        return (
            f'model_wrapper_cfg: {name} wraps every child by itself and cannot be rebuilt; use '
            'MMDistributedDataParallel'
        )
    if not isinstance(model, DistributedDataParallel):
        return (
            f'model_wrapper_cfg: {name} (FSDP, DeepSpeed and the like shard or flatten '
            'parameters) does not support freezing in turns; use MMDistributedDataParallel'
        )
    if model.static_graph:
        return (
            'model_wrapper_cfg: static_graph=True promises one graph for the whole run, which a '
            'freezing schedule breaks; allowed is static_graph=False'
        )
    if getattr(model, 'mixed_precision', None) is not None:
        return (
            "model_wrapper_cfg: mixed_precision of torch's wrapper cannot be rebuilt; use "
            "optim_wrapper=dict(type='AmpOptimWrapper', ...) instead"
        )
    return None


def rebuild(ddp: DistributedDataParallel) -> DistributedDataParallel:
    """Wraps the module of a wrapper anew, for the parameters that require a gradient now.

    Must be called on every rank, between two steps. The new wrapper has the class and options of
    the old one, which must not be used afterwards, communication hooks included (a RuntimeError
    where torch, 2.0, gives no access to them).
    """
    options = _options(ddp)
    hooks = compat.ddp_comm_hooks(ddp)
    # Without this the old reducer would go on reacting to gradients until it is collected.
    compat.ddp_release(ddp)
    training = ddp.training
    new = type(ddp)(ddp.module, **options)
    new.require_backward_grad_sync = ddp.require_backward_grad_sync
    # Not new.train(): that would walk through the module and reset the modes of its parts.
    new.training = training
    for hook, state in hooks:
        new.register_comm_hook(state, hook)
    return new


def _options(ddp: DistributedDataParallel) -> dict[str, Any]:
    options: dict[str, Any] = dict(
        device_ids=ddp.device_ids,
        output_device=ddp.output_device,
        dim=ddp.dim,
        broadcast_buffers=ddp.broadcast_buffers,
        process_group=ddp.process_group,
        find_unused_parameters=ddp.find_unused_parameters,
        gradient_as_bucket_view=ddp.gradient_as_bucket_view,
        **compat.ddp_options(ddp),
    )
    if not getattr(ddp, 'bucket_bytes_cap_default', False):
        options['bucket_cap_mb'] = ddp.bucket_bytes_cap / (1024 * 1024)
    if hasattr(ddp, 'detect_anomalous_params'):
        options['detect_anomalous_params'] = ddp.detect_anomalous_params
    return options
