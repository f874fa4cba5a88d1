"""The hook that holds the backbone to the weights it started from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from ..distortion.anchor import Anchor
from ..distortion.coverage import Coverage
from ..distortion.importance import find_kind
from ..distortion.importance_file import ImportanceFile
from ..distortion.regularizer import Penalty, Pull, check_coeff, compare
from ..utils.checks import choice
from ..utils.names import arguments_by_name
from ..utils.wrappers import unwrap
from .anchors import check_same, find_anchor, read_anchor, save_anchor
from .checkpoint_keys import ANCHOR_KEY, IMPORTANCE_KEY, REFERENCE_KEY
from .checks import check_count, check_names, check_path
from .gradient_hook import GradientHook
from .importance_pass import ImportancePass
from .loading import TRAIN, UNLOADED, LoadingHook
from .training_set import what_trains


@dataclass
class _State:
    """What is known from ``before_train`` on; keys are identities of optimizer wrappers."""

    anchor: Anchor
    coverage: Coverage
    estimate: ImportancePass
    rates: dict[int, list[tuple[str, dict]]] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    pending: dict[int, Pull] = field(default_factory=dict)
    penalties: dict[int, Penalty] = field(default_factory=dict)


@HOOKS.register_module()
@arguments_by_name()
class DistortionRegularizerHook(LoadingHook, GradientHook):
    """Pulls the weights of the target back to theta0, where they matter most.

    Right before every optimizer step, after unscaling and clipping: ``p.grad += s * (p - theta0)``
    with ``s = coeff`` (``'uniform'``) or ``s = clip(coeff * importance, 0, 1 / lr)``, ``lr`` being
    that of the parameter's own group at this step. Frozen parameters are left alone.

    theta0 is what the run starts from, cloned before its first step; it travels with the
    checkpoint, and so does the importance. That is estimated when the target is about to train for
    the first time: at the start, or after probing (``ProbeThenFinetune``), on the probed weights as
    the authors do. The estimate leaves no trace in the run, is a mean over the data of all
    processes, and is kept in the work dir, so that starting the same run again does not repeat it.

    Scalars, every ``interval`` steps: ``distortion/penalty`` (``s / 2 * ||p - theta0||^2``,
    summed up), ``distortion/ratio`` and ``distortion/ratio/<stage>`` (norm of what is added over
    the norm of the loss gradient after clipping).

    Source: "Mind the Backbone", arXiv 2303.14744, ``tools/utils.py`` of the authors' code, with the
    importance reduced over processes. ``'fisher'`` is our addition.

    Args:
        importance: ``'uniform'`` (L2-SP), ``'rgn'`` (per kernel), ``'ewc'`` (mean absolute
            gradient, as the authors have it) or ``'fisher'`` (mean squared gradient of an image).
        coeff: Strength. Scales of the kinds differ by orders of magnitude.
        num_batches: Batches a process to estimate from, at most images / batch.
        target: Dotted path of the module to hold, or a list of paths.
        exclude: Patterns (``'*.bn?.*'``) of parameters to leave; added blocks are left anyway.
        anchor: File with theta0, of a detector or of the target alone; None: the run's start.
        importance_file: File with the importance instead of an estimate. It must be of the same
            configuration, weights and data.
        interval: Optimizer steps between two measurements of the scalars.
        seed: Chooses images and augmentation of the estimate.
        unloaded: What becomes of parameters of the target that neither an ``init_cfg`` of type
            ``Pretrained`` nor ``load_from`` has filled, and that have no theta0 therefore.
            ``'train'``: they are not held, and a warning names them. ``'freeze'``: they are held
            like the others. ``'error'``: the run stops before its first step.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, before the first
            step, if there is nothing to hold, the anchor does not fit, or gradients are sharded.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1)]
    """

    priority = 'NORMAL'  # after FreezingSchedulerHook has decided what trains
    kept = (ANCHOR_KEY, REFERENCE_KEY, IMPORTANCE_KEY)

    def __init__(
        self,
        importance: str = 'rgn',
        coeff: float = 0.1,
        num_batches: int = 5000,
        target: Union[str, Sequence[str]] = 'backbone',
        exclude: Sequence[str] = (),
        anchor: Optional[str] = None,
        importance_file: Optional[str] = None,
        interval: int = 50,
        seed: int = 0,
        unloaded: str = 'train',
    ) -> None:
        super().__init__(target)
        self.kind = find_kind(importance)
        self.importance = importance
        self.coeff = check_coeff(coeff)
        self.num_batches = check_count('num_batches', num_batches)
        self.exclude = check_names('exclude', exclude)
        self.anchor_file = check_path('anchor', anchor)
        self.importance_file = check_path('importance_file', importance_file)
        self.interval = check_count('interval', interval)
        self.seed = check_count('seed', seed, least=0)
        self.unloaded = choice('unloaded', unloaded, UNLOADED)
        if importance_file is not None and not self.kind.needs_data:
            raise ValueError(f'importance_file: importance {importance!r} takes no file')
        self._state: Optional[_State] = None
        self._estimated: Optional[ImportanceFile] = None

    @property
    def anchor(self) -> Optional[Anchor]:
        """theta0, once it is known."""
        return self._state.anchor if self._state else None

    # -- when ------------------------------------------------------------------------------------

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends theta0 and the importance along."""
        super().before_save_checkpoint(runner, checkpoint)
        anchor = self.anchor
        if anchor is None:
            return
        if self.anchor_file is None:
            save_anchor(checkpoint, anchor)
        else:
            checkpoint.setdefault(REFERENCE_KEY, {})[self._name] = anchor.fingerprint()
        if self._estimated is not None:
            checkpoint.setdefault(IMPORTANCE_KEY, {})[self._name] = self._estimated.to_dict()

    def before_train(self, runner) -> None:
        """Takes theta0, estimates the importance if the target trains, listens to the steps."""
        unwrap(runner.model).train()  # some backbones (Swin) freeze their own stages only here
        model = self._find_target(runner, 'distortion')
        trains = what_trains(runner).ever
        then = f'; they are not held (unloaded={self.unloaded!r})'
        apart, _ = self.unloaded_of(runner, self.stage_map, self.unloaded, then)
        left = apart if self.unloaded == TRAIN else ()
        coverage = Coverage.of(model, self.stage_map, self.exclude, trains, left)
        named = dict(model.named_parameters())
        self._parameters = {name: named[name] for name in coverage.covered}
        self._refuse_overlap(runner)
        estimate = ImportancePass(
            runner, self.importance, coverage.covered, self.target, self.num_batches, self.seed
        )
        self._state = state = _State(self._find_anchor(runner, model), coverage, estimate)
        if self.importance_file is not None:
            estimate.check_file(Path(self.importance_file))
        saved = (self._checkpoint or {}).get(IMPORTANCE_KEY, {}).get(self._name)
        if saved is not None:
            self._take_up(ImportanceFile.from_dict(saved))
        for wrapper in self._listen():
            group_of = {id(p): g for g in wrapper.optimizer.param_groups for p in g['params']}
            held = self._held[id(wrapper)]
            # The groups themselves: schedulers change their rates in place.
            state.rates[id(wrapper)] = [(n, group_of[id(p)]) for n, p in held.items()]
            state.steps[id(wrapper)] = 0
        print_log(
            f'DistortionRegularizerHook: importance={self.importance!r}, coeff={self.coeff:g}, '
            f'theta0 {state.anchor.fingerprint()}\n{coverage.table(self.stage_map, model)}',
            logger='current',
        )
        self._prepare()

    def before_train_epoch(self, runner) -> None:
        """Estimates the importance at the end of probing."""
        self._prepare()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """The same for schedules that count iterations."""
        self._prepare()

    def on_step(self, wrapper: OptimWrapper, scale: Optional[torch.Tensor]) -> None:
        """Adds the penalty; gradients are final but for it."""
        state, key = self._state, id(wrapper)
        if state is None or key not in state.penalties:
            return  # nothing covered has trained yet
        rates = {name: group['lr'] for name, group in state.rates[key]}
        # Steps, not iterations: with accumulation an iteration of the grid may have no step.
        if state.steps[key] % self.interval == 0:
            state.pending[key] = state.penalties[key].measure(rates, scale)
        state.steps[key] += 1
        state.penalties[key].add(rates, scale)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Reads what was measured in this iteration."""
        if self._state and self._state.pending:
            self._report(list(self._state.pending.values()))
            self._state.pending.clear()
        self._remove_frozen('ratio/', ['penalty', 'ratio'])

    def after_train(self, runner) -> None:
        """Leaves the optimizer wrappers as they were found."""
        super().after_train(runner)
        if self._state:
            self._state.penalties.clear()

    # -- what ------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Makes the penalty, with its importance, once something that it holds trains."""
        state = self._state
        if state is None or state.penalties:
            return
        if not any(p.requires_grad for p in self._parameters.values()):
            return
        tensors = None
        if self.kind.needs_data:
            if self._estimated is None:
                self._estimated = state.estimate.run(self.importance_file)
            tensors = {
                n: t.to(self._parameters[n].device) for n, t in self._estimated.tensors.items()
            }
        for key, held in self._held.items():
            state.penalties[key] = Penalty(
                held, state.anchor.tensors, tensors, self.coeff, self.kind.capped
            )

    def _take_up(self, saved: ImportanceFile) -> None:
        """Goes on with the importance of a checkpoint."""
        missing = [n for n in self._parameters if n not in saved.tensors]
        if saved.kind != self.importance or missing:
            what = f'of kind {saved.kind!r}' if not missing else f'without {missing[0]!r}'
            raise ValueError(
                f'DistortionRegularizerHook: the checkpoint to resume from has an importance '
                f'{what}, this run wants importance={self.importance!r} of '
                f'{len(self._parameters)} parameters; resume with the settings of the first '
                'start, or start afresh with load_from'
            )
        self._estimated = saved

    def _find_anchor(self, runner, model) -> Anchor:
        names = tuple(self._parameters)
        if self.anchor_file is not None:
            anchor = read_anchor(self.anchor_file, model, names, self.target)
            if self._checkpoint is not None:
                before = self._checkpoint.get(REFERENCE_KEY, {}).get(self._name)
                check_same(self.anchor_file, anchor, before)
            return anchor
        hint = '; anchor=FILE sets others'
        return find_anchor(runner, self, model, names, self._checkpoint, hint=hint)

    def _report(self, pulls: Sequence[Pull]) -> None:
        """Scalars of one step, over all optimizers; here the device is waited for."""
        groups = {stage.name: stage.parameters for stage in self.stage_map}
        penalty, total, ratios = compare(pulls, groups)
        found = {f'ratio/{name}': ratio for name, ratio in ratios.items()}
        if total is not None:
            found.update(penalty=penalty, ratio=total)
        self._scalars.remove([n for n in self._scalars.names if n not in found])
        self._scalars.update(found)

    def _refuse_overlap(self, runner) -> None:
        for hook in runner.hooks:
            if hook is self or not isinstance(hook, DistortionRegularizerHook):
                continue
            both = [n for n in self._parameters if n in hook._parameters]
            if both:
                raise ValueError(
                    f'custom_hooks: two DistortionRegularizerHooks hold {both[0]!r}; their targets '
                    f'{hook.target!r} and {self.target!r} must not overlap, or use exclude'
                )
