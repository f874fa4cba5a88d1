"""Makes a set of stages train and the others frozen, and undoes it exactly.

Frozen means: ``requires_grad`` off on every parameter, no gradient left behind (an optimizer with
momentum or weight decay moves a parameter whose gradient is zero, never one whose gradient is
None), and norm and dropout layers in the chosen mode. The forward pass then builds no graph and
holds no activations, unlike detaching the outputs.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..stages import StageMap, find_module
from ..stages.trace import compare_modes
from ..utils.checks import choice
from ..utils.modes import set_modes
from ..utils.text import table

FROZEN_MODES = ('eval', 'norm_eval', 'train')


@dataclass(frozen=True)
class StageStatus:
    """State of one stage."""

    stage: str
    parameters: int  # number of them (scalars)
    trainable_parameters: int  # how many of them require a gradient
    # 'yes', 'no', 'part', or 'kept frozen' when nothing trains though the schedule lets it, because
    # the model keeps the stage frozen by itself.
    trainable: str
    mode: str  # 'train', 'eval', 'norm eval' (norm layers only) or 'mixed'
    unloaded: Optional[int] = None  # how many no file has filled; None if it is not known


@dataclass(frozen=True)
class FreezeStatus:
    """State of all stages of a :class:`Freezer`, and of the model around them."""

    stages: tuple[StageStatus, ...]
    parameters: int
    trainable_parameters: int

    @property
    def ratio(self) -> float:
        """Share of the model's parameters that train, from 0 to 1."""
        return self.trainable_parameters / self.parameters

    def table(self) -> str:
        """The status as a text table; with a column of what no file has filled if that is known."""
        known = all(s.unloaded is not None for s in self.stages)
        rows = [('stage', 'parameters', 'unloaded', 'trainable', 'mode')]
        for s in self.stages:
            lost = f'{s.unloaded:,}' if known else ''
            rows.append((s.stage, f'{s.parameters:,}', lost, s.trainable, s.mode))
        rest = self.parameters - sum(s.parameters for s in self.stages)
        training = self.trainable_parameters - sum(s.trainable_parameters for s in self.stages)
        if rest:
            rows.append(('(rest of model)', f'{rest:,}', '', _share(training, rest), ''))
        total = f'{self.trainable_parameters:,} ({self.ratio:.1%})'
        rows.append(('model', f'{self.parameters:,}', '', total, ''))
        if known:
            return table(rows, '<>><<')
        return table([(*row[:2], *row[3:]) for row in rows], '<><<')


class Freezer:
    """Applies sets of trainable stages to a model.

    What the model keeps frozen by itself when this object is made (``frozen_stages`` of an MMDet
    backbone) stays frozen in every phase.

    Args:
        model: The model, without a distributed wrapper.
        stage_map: The stages to rule over.
        frozen_mode: ``'eval'``: frozen stages are wholly in eval mode, and so is what holds
            several stages (the target itself) while all of them but added blocks are frozen.
            ``'norm_eval'``: only norm layers are. ``'train'``: modes are left alone.

    Raises:
        ValueError: If ``frozen_mode`` is none of these.

    Examples:
        >>> from torch import nn
        >>> from mmbackbone_plugins import Freezer, StageMap
        >>> backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> model = nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(2, 1)))
        >>> freezer = Freezer(model, StageMap.of(model))
        >>> freezer.apply(['1'])
        True
        >>> print(freezer.status().table())
        stage            parameters  trainable  mode
        0                         6  no         eval
        1                         6  yes        train
        (rest of model)           3  yes
        model                    15  9 (60.0%)
    """

    def __init__(self, model: nn.Module, stage_map: StageMap, frozen_mode: str = 'eval') -> None:
        self.stage_map = stage_map
        self.frozen_mode = choice('frozen_mode', frozen_mode, FROZEN_MODES)
        self._model = model
        parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
        self._parameters: dict[str, list[nn.Parameter]] = {
            s.name: [parameters[n] for n in s.parameters] for s in stage_map
        }
        self._modules: dict[str, list[nn.Module]] = {
            s.name: [modules[n] for n in s.modules] for s in stage_map
        }
        everything = [p for stage in self._parameters.values() for p in stage]
        self._allowed = {id(p) for p in everything if p.requires_grad}
        self._containers = [(modules[n], inside) for n, inside in stage_map.containers.items()]
        held = {m for stage in self._modules.values() for m in stage}
        held.update(m for path in stage_map.targets for m in find_module(model, path).modules())
        self._held = [m for m in modules.values() if m in held]  # parents before children
        self._original_modes = [(m, m.training) for m in self._held]
        self._trainable: frozenset[str] = frozenset(stage_map.names)
        self._to_eval: frozenset[nn.Module] = frozenset()

    @property
    def trainable(self) -> frozenset[str]:
        """The stages that train now."""
        return self._trainable

    def parameters_of(self, stages: Collection[str]) -> list[nn.Parameter]:
        """Parameters that train when the given stages do."""
        chosen = [p for name, ps in self._parameters.items() if name in stages for p in ps]
        return [p for p in chosen if id(p) in self._allowed]

    def apply(self, trainable: Collection[str]) -> bool:
        """Lets the given stages train and freezes all others; a KeyError if a name is no stage.

        Modes of stages that train are those that ``model.train()`` gives them, so call it before
        :meth:`apply_modes` when stages begin to train in the middle of an epoch. Returns whether a
        parameter changed from trained to frozen or back.
        """
        unknown = set(trainable) - set(self.stage_map.names)
        if unknown:
            raise KeyError(f'no such stages: {sorted(unknown)}; there are {self.stage_map.names}')
        changed = False
        for name, parameters in self._parameters.items():
            for parameter in parameters:
                wanted = name in trainable and id(parameter) in self._allowed
                changed |= parameter.requires_grad != wanted
                parameter.requires_grad_(wanted)
                if not wanted:
                    parameter.grad = None
        self._trainable = frozenset(trainable)
        self._to_eval = self._frozen_modules(trainable)
        return changed

    def apply_modes(self) -> None:
        """Puts frozen stages into their mode again; ``model.train()`` has undone it."""
        # Checked first: this runs every step, and mostly there is nothing to do.
        if any(module.training for module in self._to_eval):
            set_modes([(m, m.training and m not in self._to_eval) for m in self._held])

    def restore(self) -> None:
        """Puts back what was there when this object was made: ``requires_grad`` and modes."""
        set_modes(self._original_modes)  # first: backbones freeze their stages in train()
        self.apply(self.stage_map.names)

    def mode_conflict(self, trainable: Collection[str]) -> Optional[str]:
        """Why a target cannot go forward with only these stages in train mode.

        TridentNet has three branches in train mode and one in eval mode, and its losses count on
        three. Call it when the model is in train mode. None if a target does the same in both, or
        if a forward pass cannot be tried.
        """
        frozen = self._frozen_modules(trainable)
        for path in self.stage_map.targets if frozen else ():
            target = find_module(self._model, path)
            modes = [m.training and m not in frozen for m in target.modules()]
            difference = compare_modes(target, modes)
            if difference:
                return f'{path!r} ({type(target).__name__}): {difference}'
        return None

    def status(self, unloaded: Optional[Collection[str]] = None) -> FreezeStatus:
        """What trains now, in which modes; ``unloaded`` are parameters that no file has filled."""
        lost = [p for n, p in self._model.named_parameters() if n in (unloaded or ())]
        ids = None if unloaded is None else {id(p) for p in lost}
        stages = tuple(self._stage_status(name, ids) for name in self.stage_map.names)
        parameters = list(self._model.parameters())
        return FreezeStatus(stages, _count(parameters), _count_trainable(parameters))

    def _stage_status(self, name: str, unloaded: Optional[set[int]]) -> StageStatus:
        parameters, modules = self._parameters[name], self._modules[name]
        total, training = _count(parameters), _count_trainable(parameters)
        trainable = _share(training, total) if total else 'no'
        if total and not training and name in self._trainable:
            trainable = 'kept frozen'
        modes = [(m, m.training and m not in self._to_eval) for m in modules]
        lost = None if unloaded is None else _count([p for p in parameters if id(p) in unloaded])
        return StageStatus(name, total, training, trainable, _mode(modes), lost)

    def _frozen_modules(self, trainable: Collection[str]) -> frozenset[nn.Module]:
        """The modules that are in eval mode while these stages train."""
        if self.frozen_mode == 'train':
            return frozenset()
        frozen = [m for name, ms in self._modules.items() if name not in trainable for m in ms]
        blocks = {stage.name for stage in self.stage_map if stage.is_block}
        for module, inside in self._containers:
            # Added blocks train beside a backbone that is as frozen as it would be without.
            if (inside - blocks or inside).isdisjoint(trainable):
                frozen.append(module)
        return frozenset(m for m in frozen if self.frozen_mode == 'eval' or is_norm(m))


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer, mmcv's and mmdet's own ones included."""
    known = (_NormBase, nn.GroupNorm, nn.LayerNorm)
    return isinstance(module, known) or type(module).__name__.endswith(('Norm', 'Norm2d', 'GRN'))


def reset_optimizer_state(
    optimizers: Collection[torch.optim.Optimizer], parameters: Collection[nn.Parameter], what: str
) -> None:
    """Forgets what optimizers remember of parameters that begin to train again.

    Of ``'momentum'`` first moments become zero (SGD's momentum buffer, Adam's ``exp_avg``), of
    ``'all'`` the whole state is dropped, as on a fresh start.
    """
    for optimizer in optimizers:
        for parameter in parameters:
            if parameter not in optimizer.state:
                continue
            if what == 'all':
                del optimizer.state[parameter]
                continue
            for key in ('momentum_buffer', 'exp_avg'):
                moment = optimizer.state[parameter].get(key)
                if moment is not None:
                    moment.zero_()


def _mode(modes: list[tuple[nn.Module, bool]]) -> str:
    training = [mode for _, mode in modes]
    if all(training):
        return 'train'
    if not any(training):
        return 'eval'
    norms = {mode for m, mode in modes if is_norm(m)}
    others = {mode for m, mode in modes if not is_norm(m)}
    return 'norm eval' if norms == {False} and others == {True} else 'mixed'


def _share(part: int, total: int) -> str:
    return 'yes' if part == total else 'part' if part else 'no'


def _count(parameters: list[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def _count_trainable(parameters: list[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters if p.requires_grad)
