"""Base of the hooks that read the gradients of a target, stage by stage."""

from collections.abc import Mapping, Sequence
from typing import Any, Union

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import nn

from ..stages import StageMap
from ..utils.wrappers import unwrap
from .checks import check_target
from .gradient_tap import GradientListener, GradientTap, listen, tapped_wrappers
from .runners import held_by
from .scalars import Scalars, name_of_hook


class GradientHook(Hook, GradientListener):
    """Listens to the optimizers that hold parameters of a target."""

    stage_map: StageMap  # from _find_target on

    def __init__(self, target: Union[str, Sequence[str]]) -> None:
        self.target = check_target(target)
        self._parameters: Mapping[str, nn.Parameter] = {}
        self._held: dict[int, dict[str, nn.Parameter]] = {}  # by optimizer wrapper
        self._taps: list[GradientTap] = []

    def _find_target(self, runner, kind: str) -> nn.Module:
        """Finds the target in a run whose gradients can be read, see :func:`name_of_hook`."""
        self._wrappers = list(tapped_wrappers(runner, type(self).__name__))
        self._runner, self._name = runner, name_of_hook(runner, self, kind)
        self._scalars = Scalars(runner, self._name)
        model = unwrap(runner.model)
        self.stage_map = StageMap.of(model, self.target)
        named = dict(model.named_parameters())
        self._parameters = {name: named[name] for name in self.stage_map.parameters}
        return model

    def _listen(self) -> list[OptimWrapper]:
        """Listens to the wrappers that hold one of the parameters, and returns them."""
        self._held = {}
        for wrapper in self._wrappers:
            inside = held_by(wrapper)
            held = {n: p for n, p in self._parameters.items() if id(p) in inside}
            if held:
                self._held[id(wrapper)] = held
                self._taps.append(listen(wrapper, self))
        return [wrapper for wrapper in self._wrappers if id(wrapper) in self._held]

    def _remove_frozen(self, prefix: str, totals: Sequence[str]) -> None:
        """Takes frozen stages out of the log, and ``totals`` with the last ``<prefix><stage>``."""
        size, names = len(prefix), self._scalars.names  # a few attribute reads a step
        shown = [n for n in names if n.startswith(prefix) and n[size:] in self.stage_map.names]
        frozen = [n for n in shown if not self._trains(n[size:])]
        self._scalars.remove([*frozen, *(totals if frozen and frozen == shown else ())])

    def _trains(self, stage: str) -> bool:
        inside = (self._parameters.get(name) for name in self.stage_map[stage].parameters)
        return any(p is not None and p.requires_grad for p in inside)

    def after_train(self, runner: Any) -> None:
        """Leaves the optimizer wrappers as they were found."""
        for tap in self._taps:
            tap.remove(self)
        self._taps = []
