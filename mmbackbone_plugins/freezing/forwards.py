"""Forward passes in place of a module's own: put there for a time, and compiled."""

import copy
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable

import torch
from torch import nn

from ..stages.trace import copied_tensors
from ..utils.wrappers import replace_method


class CompiledForward:
    """A compiled copy of a module in eval mode, which shares the tensors that it has now.

    The graph is of the copy, which nobody else knows; if something is written into the tensors, a
    new copy is due. It is for images of one size, until torch sees others: then for those of all.

    Args:
        module: The module.
        replaced: What stands in the copy for modules in it.
        report: Is told why the module goes forward as it is, if it cannot be compiled.
    """

    def __init__(
        self,
        module: nn.Module,
        replaced: Mapping[nn.Module, nn.Module],
        report: Callable[[str], None],
    ) -> None:
        self._report = report
        self._inner = [m for m in module.modules() if m is not module]
        self._graph: Any = None
        try:
            memo = copied_tensors(module, torch.Tensor.detach)
            memo.update((id(m), other) for m, other in replaced.items())
            # The compiler may take the weights for constants, and lay them out for its operators.
            self._config = importlib.import_module('torch._inductor.config')
            if not hasattr(self._config, 'freezing'):
                raise RuntimeError('weights are constants from torch 2.1 on')
            self._graph = torch.compile(copy.deepcopy(module, memo))
        except Exception as error:  # a module may refuse in any way, and a version of torch
            self._give_up(error)

    def __call__(self, own: Callable, *args: Any, **kwargs: Any) -> Any:
        """Goes forward through the graph; through ``own`` if something watches, or it fails."""
        if self._graph is not None and not self._watched():
            try:
                with torch.no_grad(), self._config.patch(freezing=True):
                    return self._graph(*args, **kwargs)
            except Exception as error:  # no compiler, an operator or a construct it cannot take
                self._give_up(error)
        return own(*args, **kwargs)

    def _watched(self) -> bool:
        """Whether a hook in the module, or a count of operators, wants to see what happens."""
        modes = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
        return modes > 0 or any(m._forward_hooks or m._forward_pre_hooks for m in self._inner)

    def _give_up(self, error: Exception) -> None:
        self._graph = None
        self._report(f'not compiled, for: {type(error).__name__}: {str(error).strip()[:200]}')


@contextmanager
def patched(module: nn.Module, forward: Callable) -> Iterator[None]:
    """Lets a module go forward through a function, which is given its own forward first."""
    undo = replace_method(module, 'forward', partial(forward, module.forward))
    try:
        yield
    finally:
        undo()


def usual(tree: Any, dtype: torch.dtype) -> Any:
    """The same with all maps in row-major memory and of one type."""
    if isinstance(tree, torch.Tensor):
        tree = tree.to(dtype) if tree.is_floating_point() else tree
        if tree.is_contiguous() or tree.dim() != 4 or tree.requires_grad or tree.is_cuda:
            return tree.contiguous()
        # A matrix at a time, which torch transposes by blocks: five times as fast on a CPU.
        maps = torch.empty(tree.shape, dtype=tree.dtype, device=tree.device)
        for image, other in zip(maps.flatten(2), tree.permute(0, 2, 3, 1).flatten(1, 2)):
            image.copy_(other.t())
        return maps
    if isinstance(tree, dict):
        return {key: usual(value, dtype) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(usual(value, dtype) for value in tree)
    return tree
