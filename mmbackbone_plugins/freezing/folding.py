"""A frozen part at the cost of inference: norms folded into convolutions, in a lower precision.

What does not train does not change, so the weights that it needs in another form are made once.
Modules stay where they are: while a target goes forward in a training step, the frozen leading
stages have the other tensors, and afterwards their own again. So features are there for forward
hooks, and nothing else of a run ever meets the other tensors.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Optional

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from .. import compat
from ..stages import StageMap, find_module
from ..stages.norm_pairs import folded, norms_of_convolutions
from ..stages.trace import tensors_in
from ..utils.checks import choice
from .forwards import CompiledForward, patched, usual

FROZEN_FORWARDS = ('exact', 'folded', 'bf16', 'fp16')
_HALF = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class FrozenForward:
    """Lets the frozen leading stages of targets go forward through other forms of their weights.

    A stage is replaced if nothing in it trains, its norms are in eval mode, and so it is with all
    stages before it. Batch norms are folded into the convolutions before them, which then work in
    channels-last memory; in half precision convolutions and linear layers have half weights, under
    autocast. What leaves these stages is in the usual memory, for operators of others (mmcv's
    ``roi_align``) read anything else wrongly in silence, and of the type it would be of.

    A norm is not folded while its convolution, or the norm itself, has a forward hook: those would
    see other features. All other hooks see what they always see, up to rounding.

    Args:
        model: The model, without a distributed wrapper.
        targets: Dotted paths of its parts.
        how: ``'folded'``, ``'bf16'`` or ``'fp16'``.
        report: Is told what is replaced, and why something cannot be.
        compiled: Whether torch.compile makes graphs of them. A stage with hooks inside goes forward
            without, and all do where it cannot.

    Raises:
        ValueError: If ``how`` is none of these.

    Source:
        Folding: the formula of batch normalisation, arXiv 1502.03167. The rest is our own.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from mmbackbone_plugins import FrozenForward
        >>> part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> model = nn.ModuleDict(dict(backbone=part.requires_grad_(False)))
        >>> exact, images = part(torch.ones(2, 3, 8, 8)), torch.ones(2, 3, 8, 8)
        >>> with FrozenForward(model, ['backbone'], 'folded', print):
        ...     torch.allclose(part(images), exact)
        'backbone': 0, 1: 1 of 1 norms folded
        True
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Sequence[str],
        how: str,
        report: Callable[[str], None],
        compiled: bool = False,
    ) -> None:
        half = _HALF.get(choice('how', how, FROZEN_FORWARDS[1:]))
        self._parts = [_Part(model, path, half, report, compiled) for path in targets]

    def drop(self) -> None:
        """Forgets the other weights: what trains, or in which mode it is, has changed."""
        for part in self._parts:
            part.made = None

    def install(self) -> None:
        """Makes the other weights if there are none, and lets the targets use them from now on."""
        for part in self._parts:
            part.install()

    def remove(self) -> None:
        """Puts the targets' own forward passes back."""
        for part in self._parts:
            part.remove()

    def __enter__(self) -> 'FrozenForward':
        self.install()
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


class _Made:
    """The other weights of the leading stages of a part, and what they were made from."""

    def __init__(
        self, leading: list[nn.Module], pairs: dict[nn.Module, nn.Module], half: Any
    ) -> None:
        self.pairs = pairs
        self.compiled: dict[nn.Module, CompiledForward] = {}
        self._dicts = [tensors for m in leading for tensors in (m._parameters, m._buffers)]
        self._sources = self._sources_now()  # held, for what is freed leaves its address to others
        self._state = _state(self._sources)
        self.tensors: list[tuple[dict[str, Any], str, torch.Tensor]] = []
        layers = [m for m in leading if isinstance(m, (_ConvNd, nn.Linear))]
        for layer in layers if half or pairs else ():
            weight, bias = layer.weight.detach(), layer.bias
            if layer in pairs:
                weight, bias = folded(weight, bias, pairs[layer])
            if pairs and weight.dim() == 4:
                weight = weight.contiguous(memory_format=torch.channels_last)
            for name, tensor in (('weight', weight), ('bias', bias)):
                if tensor is not None:
                    other = tensor.detach().to(half or tensor.dtype)
                    self.tensors.append((layer._parameters, name, nn.Parameter(other, False)))

    @property
    def stale(self) -> bool:
        """Whether something was written into what these were made from, or a pair has a hook."""
        now = _state(self._sources_now())
        return self._state != now or any(_watched(*p) for p in self.pairs.items())

    def _sources_now(self) -> list[torch.Tensor]:
        return [t for tensors in self._dicts for t in tensors.values() if t is not None]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The layers have the other weights."""
        with ExitStack() as stack:
            for tensors, name, other in self.tensors:
                stack.callback(tensors.__setitem__, name, tensors[name])
                tensors[name] = other
            yield


class _Part:
    """One target."""

    def __init__(
        self,
        model: nn.Module,
        path: str,
        half: Any,
        report: Callable[[str], None],
        compiled: bool,
    ) -> None:
        self.made: Optional[_Made] = None
        self._model, self._path, self._half, self._report = model, path, half, report
        self._compiled = compiled
        self._target = find_module(model, path)
        self._stages = StageMap.of(model, path)
        # The outermost modules of the target that are in the leading stages, and that are not.
        self._inside: list[nn.Module] = []
        self._outside: list[nn.Module] = []
        self._said: set[str] = set()
        self._failed = False
        self._called = False
        self._patch: Any = None

    def install(self) -> None:
        if self._failed or self._patch is not None:  # the step before may have been interrupted
            return
        if self.made is None or self.made.stale:
            self.made = self._make()
        if self.made.tensors or self.made.compiled:
            self._patch = patched(self._target, self._forward)
            self._patch.__enter__()

    def remove(self) -> None:
        if self._patch is not None:
            self._patch.__exit__(None, None, None)
            self._patch = None
            if not self._called:
                self._say('exact, for it goes forward in pieces')

    def _uncompiled(self, text: str) -> None:
        self._compiled = False  # in later phases neither
        self._say(text)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._report(f'{self._path!r}: {text}')

    def _forward(self, own: Callable, *args: Any, **kwargs: Any) -> Any:
        self._called = True
        made, graph = self.made, any(t.requires_grad for t in tensors_in((args, kwargs)))
        if made is None or made.stale or graph or not self._model.training:
            return own(*args, **kwargs)
        try:
            return self._replaced(made, own, *args, **kwargs)
        except Exception as error:  # a module may refuse in any way
            why = error
        outputs = own(*args, **kwargs)  # raises what has nothing to do with the other weights
        self._failed, self.made = True, None
        self._say(f'exact, for otherwise: {type(why).__name__}: {str(why)[:200]}')
        return outputs

    def _make(self) -> _Made:
        leading = list(_leading(self._stages, self._model))
        modules = dict(self._model.named_modules())
        inside = set(leading)
        self._inside, self._outside, waiting = [], [], [self._target]
        while waiting:
            module = waiting.pop()
            if module in inside:
                self._inside.append(module)
            elif inside.isdisjoint(module.modules()):
                self._outside.append(module)
            else:
                waiting += module.children()
        pairs: dict[nn.Module, nn.Module] = {}
        norms, why = sum(isinstance(m, _NormBase) for m in leading), ''
        try:
            found = norms_of_convolutions(self._target) if norms else {}
        except RuntimeError as error:
            found, why = {}, f' ({error})'
        start = f'{self._path}.'.lstrip('.')
        for convolution, norm in found.items():
            pair = modules[start + convolution], modules[start + norm]
            if inside.issuperset(pair) and not _watched(*pair):
                pairs[pair[0]] = pair[1]
        parts = self._outside or any(p.requires_grad for p in self._target.parameters())
        made = _Made(leading if parts else [*leading, self._target], pairs, self._half)
        if leading:
            names = [s.name for s in self._stages if modules[s.modules[0]] in inside]
            way = f'{len(pairs)} of {norms} norms folded{why}'
            exact = not (made.tensors or self._compiled)
            self._say(f'{", ".join(names)}: {way}' + exact * ', so it is exact')
        if leading and self._compiled:
            inner = [m for m in self._inside if [*m.children()]]
            nothing = {norm: nn.Identity() for norm in pairs.values()}
            with made.in_place():
                for module in inner if parts else [self._target]:
                    made.compiled[module] = CompiledForward(module, nothing, self._uncompiled)
        return made

    def _replaced(self, made: _Made, own: Callable, *args: Any, **kwargs: Any) -> Any:
        device = next(self._target.parameters()).device.type
        usually = partial(usual, dtype=compat.autocast_dtype(device) or torch.float32)

        def fast(forward: Callable, *args: Any, **kwargs: Any) -> Any:
            with torch.autocast(device, self._half):
                return forward(*args, **kwargs)

        def exact(forward: Callable, *args: Any, **kwargs: Any) -> Any:
            return forward(*usually(args), **usually(kwargs))

        with ExitStack() as stack:
            stack.enter_context(made.in_place())
            for module, graph in made.compiled.items():
                if module is self._target:
                    own = partial(graph, own)
                    own = partial(fast, own) if self._half else own
                else:
                    stack.enter_context(patched(module, graph))
            for norm in made.pairs.values():
                stack.enter_context(patched(norm, lambda own, x: x))
            for module in self._inside if self._half else ():
                stack.enter_context(patched(module, fast))
            for module in self._outside:
                stack.enter_context(patched(module, exact))
            outputs = own(*args, **kwargs)
        if type(outputs) not in (list, tuple):
            return usually(outputs)
        kind, outputs = type(outputs), list(outputs)
        for i in range(len(outputs)):  # one after the other: there are never two of each
            outputs[i] = usually(outputs[i])
        return kind(outputs)


def _leading(stages: StageMap, model: nn.Module) -> Iterator[nn.Module]:
    """The modules of the stages before the first in which something trains."""
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    trains = {s.name for s in stages if any(parameters[n].requires_grad for n in s.parameters)}
    for stage in stages:
        inside = [modules[name] for name in stage.modules]
        moving = any(isinstance(m, _NormBase) and m.training for m in inside)
        if moving or not trains.isdisjoint((stage.name, f'{stage.name}.block')):
            return
        yield from inside


def _state(sources: list[torch.Tensor]) -> list[tuple[int, int]]:
    return [(t.data_ptr(), t._version) for t in sources]


def _watched(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether a forward hook would see features between the two."""
    return bool(convolution._forward_hooks or norm._forward_pre_hooks or norm._forward_hooks)
