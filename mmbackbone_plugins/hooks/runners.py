"""What hooks ask a runner for: its optimizers, and whether it keeps parameters whole."""

from typing import Optional

from mmengine.optim import OptimWrapper, OptimWrapperDict


def optim_wrappers(runner) -> list[tuple[str, OptimWrapper]]:
    """The optimizer wrappers of a runner with their names; one without a name is ``''``."""
    wrapper = runner.optim_wrapper
    return list(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else [('', wrapper)]


def held_by(wrapper: OptimWrapper) -> set[int]:
    """Identities of the parameters that a wrapper's optimizer holds."""
    return {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}


def sharding(runner) -> Optional[str]:
    """Why no process of a run holds whole parameters and gradients; None where all do."""
    if hasattr(runner, 'strategy'):
        # mmengine's FlexibleRunner: FSDP, DeepSpeed and ColossalAI own the parameters there.
        return (
            f'{type(runner).__name__} with strategy={type(runner.strategy).__name__} '
            'is not supported; use runner_type="Runner" (one process or DistributedDataParallel)'
        )
    model = runner.model
    if any(type(m).__name__.endswith('FullyShardedDataParallel') for m in model.modules()):
        return (
            f'model_wrapper_cfg: {type(model).__name__} shards or flattens parameters, so '
            'that no rank holds whole ones; use MMDistributedDataParallel'
        )
    return None


def refuse_sharded(runner, who: str) -> None:
    """Raises a ValueError where no process holds whole parameters and gradients."""
    conflict = sharding(runner)
    if conflict:
        raise ValueError(f'{who}: {conflict}')
