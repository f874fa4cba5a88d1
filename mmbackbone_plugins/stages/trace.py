"""Forward passes of a module that leave no trace: they go through a copy without data.

The copy has the module's structure and tensors of torch's ``meta`` device, which have a shape and
no values; where an operator has no such form, copies on the CPU. It is never on the module's own
device, so the answer is the same on all devices and ranks, and in a resumed run.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Callable, Optional, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..utils.modes import set_mode, set_modes
from ..utils.untouched import untouched_random_numbers

SIZES = (224, 256, 384, 128, 512)  # of images, in pixels
Answer = TypeVar('Answer')


def first_uses(module: nn.Module) -> dict[str, int]:
    """When a forward pass in eval mode first uses each parameter of a backbone or neck.

    The time is a count, by name; parameters that the pass does not use are left out. A RuntimeError
    says why no forward pass could be made.
    """

    def watched(net: nn.Module, inputs: Any) -> dict[str, int]:
        set_mode(net, False)
        with _Uses(net) as uses:
            net(inputs)
        return uses.found

    return on_a_copy(module, watched)


def parameters_of_outputs(module: nn.Module) -> list[set[str]]:
    """Names of the parameters that each tensor which a module in eval mode returns depends on."""

    def depend(net: nn.Module, inputs: Any) -> list[set[str]]:
        set_mode(net, False)
        names = {p.requires_grad_(): name for name, p in net.named_parameters()}
        with torch.enable_grad():
            outputs = list(tensors_in(net(inputs)))
        return [{names[p] for p in _leaves(tensor) if p in names} for tensor in outputs]

    return on_a_copy(module, depend)


def compare_modes(module: nn.Module, modes: Sequence[bool]) -> Optional[str]:
    """What a module returns in other modes than it has, one for each of ``module.modules()``.

    The difference in words; None if there is none, or if it cannot be told. Height and width of
    maps are not looked at; dimensions, images and channels are.
    """

    def compared(net: nn.Module, inputs: Any) -> Optional[str]:
        before = _summary(net(inputs))
        set_modes(zip(list(net.modules()), modes))
        try:
            after = _summary(net(inputs))
        except Exception as error:
            if next(net.parameters()).is_meta:  # perhaps an operator that has no form for those
                raise
            return f'it raises {type(error).__name__}: {error}'
        return None if before == after else f'it returns {after} instead of {before}'

    try:
        return on_a_copy(module, compared)
    except RuntimeError:
        return None


class _Uses(TorchFunctionMode):
    """Notes when each parameter of a module is first handed to a function of torch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._names = {id(p): name for name, p in net.named_parameters()}
        self._seen: dict[str, int] = {}
        self._called: dict[str, int] = {}
        self._time = 0
        for name, module in net.named_modules():
            own = [f'{name}.{n}'.lstrip('.') for n, _ in module.named_parameters(recurse=False)]
            if own:
                module.register_forward_pre_hook(self._call_of(own))

    @property
    def found(self) -> dict[str, int]:
        """First uses; operators that torch does not see count from the call of their module."""
        return {**self._called, **self._seen}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Optional[dict] = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, '__name__', '') != '__get__':  # a look at a shape is no use
            for tensor in tensors_in((args, kwargs)):
                if id(tensor) in self._names:
                    self._note(self._seen, self._names[id(tensor)])
        return func(*args, **kwargs)

    def _call_of(self, names: list[str]) -> Callable:
        def hook(module: nn.Module, args: Any) -> None:
            for name in names:
                self._note(self._called, name)

        return hook

    def _note(self, times: dict[str, int], name: str) -> None:
        self._time += 1
        times.setdefault(name, self._time)


def on_a_copy(module: nn.Module, look: Callable[[nn.Module, Any], Answer]) -> Answer:
    """Has a look with the first kind of tensors and the first input that work."""
    if type(module).forward is nn.Module.forward:
        raise RuntimeError(f'{type(module).__name__} has no forward pass')
    why: Optional[Exception] = None
    for device in ('meta', 'cpu'):
        for inputs in _inputs(module, device):
            try:
                with untouched_random_numbers(), torch.no_grad():
                    return look(_bare_copy(module, device), inputs)
            except Exception as error:  # a module may refuse in any way
                why = why or error
    raise RuntimeError(f'{type(why).__name__}: {why}'.rstrip(': ')) from why


def _inputs(module: nn.Module, device: str) -> Iterator[Any]:
    """Inputs that a module may take, two images each: in train mode norms want more than one."""
    maps = getattr(module, 'in_channels', None)
    if isinstance(maps, (list, tuple)):  # a neck
        sides = [max(64 >> i, 1) for i in range(len(maps))]
        yield tuple(torch.zeros(2, c, s, s, device=device) for c, s in zip(maps, sides))
    layers = list(module.modules())
    widths = [m.in_channels for m in layers if isinstance(m, nn.Conv2d)]
    if not widths:
        for linear in [m for m in layers if isinstance(m, nn.Linear)][:1]:
            yield torch.zeros(2, linear.in_features, device=device)
    fixed = [getattr(m, name, None) for m in layers for name in ('img_size', 'input_resolution')]
    own = [(s, s) if isinstance(s, int) else s for s in fixed if s is not None][:1]
    # Copies with data cost time and memory, so there are not many of them.
    sizes = [*own, *((s, s) for s in (SIZES if device == 'meta' else SIZES[:1]))]
    # The convolution that is registered first need not be the one that takes the images.
    for channels in dict.fromkeys([*widths[:1], 3, *sorted(widths)[:1]]):
        for size in sizes:
            yield torch.zeros(2, channels, *size, device=device)


def _bare_copy(module: nn.Module, device: str) -> nn.Module:
    """A copy in the same modes, with tensors of the same shapes on another device."""

    def bare(tensor: torch.Tensor) -> torch.Tensor:
        # One dtype: what half precision can do differs from device to device.
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(device, dtype, copy=True)

    return copy.deepcopy(module, copied_tensors(module, bare))


def copied_tensors(
    module: nn.Module, other: Callable[[torch.Tensor], torch.Tensor]
) -> dict[int, Any]:
    """What ``copy.deepcopy`` takes as it is: a module's tensors in another form, and no hooks.

    What hooks do, and the objects that they belong to, are somebody else's.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        tensors = [*part._parameters.values(), *part._buffers.values()]
        for name, value in [*enumerate(tensors), *vars(part).items()]:
            if isinstance(value, torch.Tensor):
                bare = other(value)
                is_parameter = isinstance(value, nn.Parameter)
                memo[id(value)] = nn.Parameter(bare, requires_grad=False) if is_parameter else bare
            elif isinstance(value, dict) and str(name).endswith('_hooks'):
                memo[id(value)] = type(value)()
            elif isinstance(value, getattr(torch.distributed, 'ProcessGroup', ())):
                memo[id(value)] = value  # of mmcv's SyncBatchNorm; it cannot be copied
    return memo


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (tuple, list, dict)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors_in(item)


def _leaves(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors at the beginning of a tensor's graph."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
            if hasattr(node, 'variable'):
                yield node.variable


def _summary(outputs: Any) -> str:
    """All shapes but heights, widths and numbers of tokens."""
    names = {4: '{} x {} x H x W', 3: '{} x L x {}', 2: '{} x {}'}
    texts = []
    for tensor in tensors_in(outputs):
        shape = tuple(tensor.shape)
        channels = shape[1] if len(shape) == 4 else shape[-1] if shape else ''
        texts.append(names.get(len(shape), str(shape)).format(shape[0] if shape else '', channels))
    return f'({", ".join(texts)})'
