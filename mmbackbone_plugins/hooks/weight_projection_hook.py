"""The hook that takes weights back towards theta0 after every step."""

from collections.abc import Collection, Sequence
from typing import Any, Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from ..distortion.anchor import Anchor
from ..distortion.coverage import Coverage
from ..distortion.projection import Projection, projection_kinds
from ..utils.checks import choice
from ..utils.names import arguments_by_name
from ..utils.wrappers import unwrap
from .anchors import find_anchor, save_anchor
from .checkpoint_keys import ANCHOR_KEY, PROJECTION_KEY
from .checks import check_count
from .gradient_hook import GradientHook
from .loading import TRAIN, UNLOADED, LoadingHook
from .training_set import what_trains


@HOOKS.register_module()
@arguments_by_name()
class WeightProjectionHook(LoadingHook, GradientHook):
    """Takes the weights of the target back towards theta0 after every optimizer step.

    What is done after the step no optimizer rescales: AdamW divides the pull of a penalty by its
    running magnitude, a projection it does not see. Only tensors that had a gradient are touched; a
    step that a loss scaler skips projects nothing. theta0 is what the run starts from, cloned
    before its first step; it travels with the checkpoint, and hooks that need the same tensors
    share them.

    Scalars, every ``interval`` steps: ``projection/tensors`` (how many were taken back),
    ``projection/ratio`` (mean share of their distance to theta0 that was taken back) and
    ``projection/distance`` (``||p - theta0||`` over all tensors that trained, after the
    projection).

    Source: ``'spd'``: Selective Projection Decay, NeurIPS 2024; ``'ftp'``: Fast Trainable
    Projection, NeurIPS 2023; both after the authors' code. That they act in a hook behind any
    optimizer, and on its final gradients (clipped), is our reading.

    Args:
        kind: ``'spd'``: by how much a step went away from theta0 while the gradient asks to go
            back. ``'ftp'``: into a ball around theta0 whose radius is learned, for each tensor.
        coeff: Strength of ``'spd'``, at least 0; default 1. Set ``weight_decay=0`` beside it, as it
            stands in its place.
        k: How far a gradient that makes the ball of ``'ftp'`` smaller counts, from 0 to 1; default
            1, the strongest.
        target: Dotted path of the module to hold, or a list of paths. Added blocks are left.
        unloaded: What becomes of parameters of the target that no file has filled, and that have no
            theta0 therefore. ``'train'``: they are left, and a warning names them. ``'freeze'``:
            they are held like the others. ``'error'``: the run stops before its first step.
        interval: Optimizer steps between two measurements of the scalars.

    Raises:
        ValueError: If an argument is not one of the above, or belongs to the other kind; in
            ``before_train``, if there is nothing to hold or parameters are sharded.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='WeightProjectionHook', kind='spd', coeff=1.0)]
    """

    # After the hooks that change gradients, so that they are final here; before LoggerHook.
    priority = 55
    kept = (ANCHOR_KEY, PROJECTION_KEY)

    def __init__(
        self,
        kind: str = 'spd',
        coeff: Optional[float] = None,
        k: Optional[float] = None,
        target: Union[str, Sequence[str]] = 'backbone',
        unloaded: str = 'train',
        interval: int = 50,
    ) -> None:
        super().__init__(target)
        self.kind = choice('kind', kind, projection_kinds())
        rule, given = projection_kinds()[kind], dict(coeff=coeff, k=k)
        for name, value in given.items():
            if value is not None and name != rule.setting:
                raise ValueError(
                    f'{name}={value!r} is not of kind={kind!r}, which takes {rule.setting}'
                )
        value = given[rule.setting]
        self.value = rule.check(1.0 if value is None else value)
        self.unloaded = choice('unloaded', unloaded, UNLOADED)
        self.interval = check_count('interval', interval)
        self.anchor: Optional[Anchor] = None
        self.coverage: Optional[Coverage] = None
        self._rules: dict[int, Projection] = {}  # by optimizer wrapper

    # -- when ------------------------------------------------------------------------------------

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends theta0 and what was learned along."""
        super().before_save_checkpoint(runner, checkpoint)
        if self.anchor is None:
            return
        save_anchor(checkpoint, self.anchor)
        states = [rule.state_dict() for rule in self._rules.values()]
        checkpoint.setdefault(PROJECTION_KEY, {})[self._name] = dict(kind=self.kind, states=states)

    def before_train(self, runner) -> None:
        """Takes theta0 and listens to the steps."""
        unwrap(runner.model).train()  # some backbones (Swin) freeze their own stages only here
        model = self._find_target(runner, 'projection')
        then = f'; they are not held (unloaded={self.unloaded!r})'
        apart, _ = self.unloaded_of(runner, self.stage_map, self.unloaded, then)
        left = apart if self.unloaded == TRAIN else ()
        self.coverage = Coverage.of(model, self.stage_map, (), what_trains(runner).ever, left)
        named = dict(model.named_parameters())
        self._parameters = {name: named[name] for name in self.coverage.covered}
        self._refuse_overlap(runner)
        self.anchor = find_anchor(runner, self, model, self._parameters, self._checkpoint)
        self._pending: list[torch.Tensor] = []
        self._armed: set[int] = set()
        self._steps: dict[int, int] = {}
        self._rules = {}
        make = projection_kinds()[self.kind]
        for wrapper in self._listen():
            held = self._held[id(wrapper)]
            self._rules[id(wrapper)] = make(held, self.anchor.tensors, self.value)
        self._take_up()
        print_log(
            f'WeightProjectionHook: kind={self.kind!r}, {make.setting}={self.value:g}, theta0 '
            f'{self.anchor.fingerprint()}\n{self.coverage.table(self.stage_map, model)}',
            logger='current',
        )

    def on_step(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """Looks at weights and gradients as the optimizer gets them."""
        self._rules[id(wrapper)].before(scale)
        self._armed.add(id(wrapper))

    def after_step(self, wrapper: OptimWrapper, skipped: Any) -> None:
        """Projects, unless a loss scaler has skipped the step."""
        if id(wrapper) not in self._armed:
            return
        self._armed.discard(id(wrapper))
        rule = self._rules[id(wrapper)]
        steps = self._steps.get(id(wrapper), 0)
        self._steps[id(wrapper)] = steps + 1
        rule.measures = steps % self.interval == 0
        numbers = rule.after(skipped if isinstance(skipped, torch.Tensor) else None)
        if rule.measures:
            self._pending.append(numbers)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Reads what was measured in this iteration."""
        if self._pending:
            # Here the device is waited for.
            shares, distances = torch.cat([n.double().cpu() for n in self._pending], dim=1)
            self._pending = []
            back = shares[shares > 0]
            left = torch.linalg.vector_norm(distances * (1 - shares))
            ratio = float(back.mean()) if len(back) else 0.0
            self._scalars.update(dict(tensors=len(back), ratio=ratio, distance=float(left)))

    # -- what ------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Goes on with what a run before has learned."""
        saved = (self._checkpoint or {}).get(PROJECTION_KEY, {}).get(self._name)
        if saved is None:
            return
        if saved['kind'] != self.kind or len(saved['states']) != len(self._rules):
            raise ValueError(
                f'WeightProjectionHook: the checkpoint to resume from is of kind '
                f'{saved["kind"]!r}, this run wants kind={self.kind!r}; resume with the settings '
                'of the first start, or start afresh with load_from'
            )
        for rule, state in zip(self._rules.values(), saved['states']):
            rule.load_state_dict(state)

    def _refuse_overlap(self, runner) -> None:
        for hook in runner.hooks:
            other = getattr(hook, 'coverage', None)
            if hook is self or not isinstance(hook, WeightProjectionHook) or other is None:
                continue
            both: Collection[str] = self._parameters.keys() & set(other.covered)
            if both:
                raise ValueError(
                    f'custom_hooks: two WeightProjectionHooks hold {min(both)!r}; their targets '
                    f'{hook.target!r} and {self.target!r} must not overlap'
                )
