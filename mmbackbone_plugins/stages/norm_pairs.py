"""Which norm layers can be folded into convolutions, seen in a forward pass without data."""

from typing import Any, Callable, Optional

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .trace import on_a_copy, tensors_in


def norms_of_convolutions(module: nn.Module) -> dict[str, str]:
    """Norm layers in eval mode that can be folded: each into one convolution that feeds it alone.

    They are by name of the convolution, of a backbone in the modes that it is to run in. A
    RuntimeError if no forward pass could be made without data: with ``meta`` tensors an operator
    that is not torch's own fails, which may take no other memory format.
    """

    def watched(net: nn.Module, inputs: Any) -> dict[str, str]:
        if not next(net.parameters()).is_meta:
            raise RuntimeError('it has an operator that is not of torch')
        with _Pairs(net) as pairs:
            outputs = net(inputs)
        return pairs.found(outputs)

    return on_a_copy(module, watched)


def folded(
    weight: torch.Tensor, bias: Optional[torch.Tensor], norm: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution that does what its norm does too, computed in float64."""
    mean, scale = norm.running_mean.double(), (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.detach().double()
    shift = (0 if bias is None else bias.detach().double()) - mean
    shift = shift * scale + (0 if norm.bias is None else norm.bias.detach().double())
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return folded.to(weight.dtype), shift.to(weight.dtype)


class _Pairs(TorchFunctionMode):
    """Notes what convolutions return, and who takes it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._convolutions: dict[int, str] = {}  # by the weight that they hand over as it is
        self._norms: dict[int, str] = {}  # by running mean: of the weight there may be none
        self._calls: list[str] = []
        self._returned: dict[int, tuple[str, torch.Tensor]] = {}  # held, for ids to be of one each
        self._takers: dict[str, list[Optional[str]]] = {}
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                self._convolutions[id(module.weight)] = name
            elif isinstance(getattr(module, 'running_mean', None), torch.Tensor):
                self._norms[id(module.running_mean)] = name
                module.register_forward_hook(self._whole_output_of(name))

    def found(self, outputs: Any) -> dict[str, str]:
        """The pairs of a pass that has returned these outputs."""
        kept = {self._name(tensor) for tensor in tensors_in(outputs)}
        pairs = {c: takers[0] for c, takers in self._takers.items() if len(takers) == 1}
        return {
            c: n
            for c, n in pairs.items()
            if n and c not in kept and self._calls.count(c) == self._calls.count(n) == 1
        }

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Optional[dict] = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not any(True for _ in tensors_in(result)) or getattr(func, '__name__', '') == '__get__':
            return result  # a look at a shape is no use
        norm = None
        if func is nn.functional.batch_norm and not kwargs.get('training', True):
            norm = self._norms.get(id(args[1]))
            self._returned[id(result)] = (f'norm {norm}', result)
        for tensor in tensors_in((args, kwargs)):
            taken = self._name(tensor)
            if taken in self._takers:
                self._takers[taken].append(norm)
        convolution = self._convolutions.get(id(args[1])) if func is torch.conv2d else None
        if convolution:
            self._calls.append(convolution)
            self._takers.setdefault(convolution, [])
            self._returned[id(result)] = (convolution, result)
        return result

    def _name(self, tensor: torch.Tensor) -> str:
        return self._returned.get(id(tensor), ('',))[0]

    def _whole_output_of(self, norm: str) -> Callable:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            # Norms of timm go on with an activation in the same module.
            whole = isinstance(output, torch.Tensor) and self._name(output) == f'norm {norm}'
            self._calls.append(norm if whole else '')

        return hook
