"""Watches the operators of a piece of work: FLOPs of those with a formula, names of the others.

torch's flop counter adds up; a second dispatch mode above it tells forward from backward, and notes
what has no formula. Operators of mmcv, which the dispatcher never sees, are replaced meanwhile by
ones that count their calls. Watching changes no number that is computed.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .. import compat
from .formulas import custom_formulas

# Python modules with compiled operators that torch's dispatcher does not see.
EXTENSIONS = ('mmcv._ext',)
# Parts of torch that do no arithmetic on data: bookkeeping, and the communication of gradients.
_SILENT_SPACES = ('prim', 'prims', 'profiler', 'c10d', '_c10d_functional', 'debugprims')
# The flop counter replaces these by a formula in other operators, which rounds differently.
_WHOLE = ('aten.silu_backward', 'aten.mish_backward', 'aten.native_channel_shuffle')
# Operators that make, move, choose or compare; beginnings of names in aten.
_MOVES = (
    *('empty', 'zeros', 'ones', 'full', 'new_', 'rand', 'arange', 'scalar_tensor', 'lift', 'set_'),
    *('fill', 'zero', 'copy', 'clone', '_to_copy', 'cat', 'stack', 'repeat', 'resize', 'record_'),
    *('index', 'slice', 'select', 'gather', 'scatter', 'nonzero', 'masked', 'unique', '_unique'),
    *('embedding', 'flip', 'roll', 'split', '_local_scalar_dense', '_unsafe_view', 'bernoulli'),
    *('any', 'all', 'max.', 'min.', 'amax', 'amin', 'aminmax', 'argmax', 'argmin', 'sort', 'topk'),
    *('isnan', 'equal', '_foreach', '_fused', '_amp', 'normal', 'uniform', 'constant_pad'),
    'bincount',
)


def new_flop_counter() -> Any:
    """A flop counter of torch that prints nothing, with formulas that hold."""
    kind = compat.flop_counter()
    if kind is None:
        raise ImportError(
            f'counting FLOPs needs torch 2.1 or newer, {torch.__version__} has no flop counter'
        )
    return kind(display=False, custom_mapping=custom_formulas())


class OperatorCounter:
    """Counts operators between ``start`` and ``stop``, or within ``with``; works once.

    ``forward`` are FLOPs outside of backward passes, ``backward`` those in them, with what gradient
    checkpointing does again. ``uncounted`` are calls of what does arithmetic without a formula, see
    :class:`StepFlops`; what follows a backward pass (the optimizer) is not listed. An ImportError
    if torch has no flop counter (2.0).
    """

    def __init__(self) -> None:
        self._flops = new_flop_counter()
        self._stack = ExitStack()
        self._watch = _Watcher(self._flops)
        self.stop = self._stack.close

    def start(self) -> 'OperatorCounter':
        for part in (_counted_extensions(self._watch.uncounted), self._flops, self._watch):
            self._stack.enter_context(part)
        return self

    __enter__ = start

    def __exit__(self, *error: Any) -> None:
        self.stop()

    @property
    def forward(self) -> int:
        return int(self._flops.get_total_flops()) - self._watch.backward

    @property
    def backward(self) -> int:
        return self._watch.backward

    @property
    def by_operator(self) -> dict[str, int]:
        counts = self._flops.get_flop_counts().get('Global', {})
        return {str(getattr(op, '__name__', op)): int(n) for op, n in counts.items()}

    @property
    def uncounted(self) -> dict[str, int]:
        """Custom operators first, then those of torch, each by name."""
        found = self._watch.uncounted
        return {name: found[name] for name in sorted(found, key=lambda n: (n[:5] == 'aten.', n))}


class _Watcher(TorchDispatchMode):
    """Sees every operator, above a flop counter that adds up those with a formula."""

    def __init__(self, flops: Any) -> None:
        super().__init__()
        self.backward = 0
        self.uncounted: Counter[str] = Counter()
        self._flops, self._stepped = flops, False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        flops = self._flops
        before = flops.get_total_flops()
        with _disable_current_modes() if _name(func) in _WHOLE else nullcontext():
            result = func(*args, **(kwargs or {}))
        added = flops.get_total_flops() - before
        # An operator with a formula counts nothing where there is nothing to work on.
        known = added or getattr(func, '_overloadpacket', None) in flops.flop_counts['Global']
        # Of the thread that works: a backward pass on a GPU has a thread of its own.
        going_back = torch._C._current_graph_task_id() != -1
        if going_back:
            self._stepped = True
            self.backward += added
        if not known and (going_back or not self._stepped) and not _is_silent(func):
            self.uncounted[_name(func)] += 1
        return result


def _name(func: Any) -> str:
    return str(getattr(func, '_overloadpacket', func))


@cache
def _is_silent(func: Any) -> bool:
    """Whether an operator does no arithmetic, or one operation an element."""
    space, _, name = _name(func).partition('.')
    if space in _SILENT_SPACES or not isinstance(func, torch._ops.OpOverload):
        return True
    if space != 'aten':
        return False  # a custom operator
    tag = getattr(torch.Tag, 'pointwise', None)
    if (tag is not None and tag in func.tags) or getattr(func, 'is_view', False):
        return True
    return f'{name}.'.startswith(_MOVES)


@contextmanager
def _counted_extensions(calls: 'Counter[str]') -> Iterator[None]:
    """Counts the calls of compiled functions that the dispatcher does not see."""

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            # On a CPU, mmcv's rotated overlaps call three million operators at 1024 px.
            with _disable_current_modes():
                return function(*args, **kwargs)

        return call

    with ExitStack() as afterwards:
        for path in EXTENSIONS:
            module = sys.modules.get(path)
            for name, function in list(vars(module).items()) if module is not None else ():
                if callable(function) and not isinstance(function, type) and name[:1] != '_':
                    afterwards.callback(setattr, module, name, function)
                    setattr(module, name, counted(f'{path.split(".")[0]}.{name}', function))
        yield
