"""The hook that shows how far the backbone has moved from where it started."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Optional, Union, cast

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from ..distortion.anchor import Anchor, named_tensors
from ..distortion.drift import norm_buffers, statistics_drift, weight_drift
from ..distortion.features import feature_similarity, output_names
from ..stages import StageMap, find_module
from ..utils.checks import flag
from ..utils.names import arguments_by_name
from ..utils.sampling import SeededBatches, inputs_of
from ..utils.untouched import untouched_attributes
from ..utils.wrappers import unwrap
from .checkpoint_keys import ANCHOR_KEY
from .checks import check_count, check_target, refuse_second
from .epochs import EpochEnds
from .jsonl import JsonLines
from .runners import refuse_sharded
from .scalars import Scalars


@HOOKS.register_module()
@arguments_by_name()
class DriftHook(Hook):
    """Measures how far the target has moved from the weights that the run started with.

    At the end of an epoch, per stage: ``||theta - theta0|| / ||theta0||`` of the weights (scalars
    ``drift/<stage>``, over all stages ``drift/network``); the shift of running means and standard
    deviations of norm layers (``drift/norm_mean``, ``drift/norm_std``); and linear CKA between the
    features now and those of the initial backbone, on a fixed set of training images
    (``cka/<stage>``). ``drift.jsonl``, in the log folder of the run's first start, has a line per
    measurement with all of it; a resumed run goes on in it. The last epoch's scalars may come after
    the logger's last line of that epoch; the file has them.

    theta0 is cloned before the first step of a fresh run, after pre-trained weights are loaded. It
    travels with the checkpoint (key ``mmbackbone_anchor``) and a resumed run takes it from there.
    It is no part of the model, so a saved model and an EMA copy do not have it.

    Training is not changed by a bit: random numbers, modes and statistics are put back.

    Args:
        target: Dotted path of the module to measure, or a list of paths.
        interval: Epochs from one measurement to the next; the last epoch is always measured. In an
            iteration loop an epoch is as many iterations as the training loader is long.
        num_images: Training images for the features; 0 leaves that part out. Each costs two forward
            passes. Only for a target that is a backbone; it is left out for others.
        seed: Chooses the images and their augmentation.
        offload: Whether theta0 is kept in main memory instead of on the model's device.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if the target does
            not exist, there is a second hook of this kind, parameters are sharded (FSDP,
            DeepSpeed), or a resumed checkpoint has no theta0 for the target.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='DriftHook', interval=1)]
    """

    priority = 'NORMAL'  # before LoggerHook, so that the epoch's last line has the scalars

    def __init__(
        self,
        target: Union[str, Sequence[str]] = 'backbone',
        interval: int = 1,
        num_images: int = 16,
        seed: int = 0,
        offload: bool = True,
    ) -> None:
        self.target = check_target(target)
        self.interval = check_count('interval', interval)
        self.num_images = check_count('num_images', num_images, least=0)
        self.seed = check_count('seed', seed, least=0)
        self.offload = flag('offload', offload)
        self.anchor: Optional[Anchor] = None
        self._saved: Optional[dict[str, torch.Tensor]] = None
        self._resumed = False

    # -- when ------------------------------------------------------------------------------------

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keeps theta0 of a checkpoint that the run resumes from; taken up in ``before_train``."""
        if runner._resume:  # not load_from: those weights are the start of a fresh run
            self._resumed, self._saved = True, checkpoint.get(ANCHOR_KEY)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Sends theta0 along; hooks with the same tensors share them."""
        if self.anchor is not None:
            checkpoint.setdefault(ANCHOR_KEY, {}).update(self.anchor.save())

    def before_train(self, runner) -> None:
        """Clones theta0 in a fresh run, or takes up that of the run's first start."""
        refuse_sharded(runner, 'DriftHook')
        refuse_second(runner, self)
        model = unwrap(runner.model)
        self.stage_map = StageMap.of(model, self.target)
        self._images = self._find_images(runner, model) if is_main_process() else None
        self._epochs = EpochEnds(runner, self.interval)
        self._file = JsonLines(runner, 'drift.jsonl')
        self._weights, self._features = Scalars(runner, 'drift'), Scalars(runner, 'cka')
        if not is_main_process():
            return
        names, device = self._names(model), 'cpu' if self.offload else None
        if not self._resumed:
            self.anchor = Anchor.of(model, names, device)
        elif self._saved is None:
            raise ValueError(
                'DriftHook: the checkpoint to resume from has no reference weights '
                f'({ANCHOR_KEY!r}): it was saved by a run without this hook, and its weights have '
                'moved already. Resume without DriftHook, or start afresh with load_from'
            )
        else:
            self.anchor = Anchor.load(self._saved, model, names, device)
            self._saved = None
        self._theta0 = self.anchor.tensors
        self._fingerprint = self.anchor.fingerprint()
        source = 'the checkpoint' if self._resumed else 'the start of this run'
        print_log(
            f'DriftHook: reference weights of {self.target!r} are those of {source} '
            f'(fingerprint {self._fingerprint})',
            logger='current',
        )
        self._try_images(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Measures at the end of every ``interval``-th epoch."""
        epoch = self._epochs.after_iter(runner, batch_idx)
        if epoch is not None and is_main_process():
            self._record(runner, epoch, runner.iter + 1)

    def after_train(self, runner) -> None:
        """Measures the last epoch of a run that was stopped."""
        epoch = self._epochs.after_train(runner)
        if epoch is not None and is_main_process():
            self._record(runner, epoch, runner.iter)

    # -- what ------------------------------------------------------------------------------------

    def measure(self, runner) -> dict[str, Any]:
        """All numbers now, as the file has them."""
        model = unwrap(runner.model)
        state, anchor = named_tensors(model), self._theta0
        groups = {stage.name: stage.parameters for stage in self.stage_map}
        stages = weight_drift(state, anchor, groups)
        # Added blocks have no pre-trained weights to be far from.
        own = [n for s in self.stage_map if not s.is_block for n in s.parameters]
        network = weight_drift(state, anchor, dict(network=own))['network']
        norms = {s.name: norm_buffers(model, s.modules) for s in self.stage_map}
        by_stage = {
            n: dict(zip(('mean', 'std'), statistics_drift(state, anchor, means)))
            for n, means in norms.items()
            if means
        }
        found = dict(stages=stages, network=network, norm_statistics=by_stage)
        found['norm_mean'], found['norm_std'] = statistics_drift(
            state, anchor, [name for means in norms.values() for name in means]
        )
        found['cka'] = {} if self._images is None else self._similarity(runner, self._images)
        return found

    def _record(self, runner, epoch: int, iteration: int) -> None:
        found = self.measure(runner)
        self._weights.update(
            dict(
                found['stages'],
                network=found['network'],
                norm_mean=found['norm_mean'],
                norm_std=found['norm_std'],
            )
        )
        self._features.update(found['cka'])
        place = dict(iter=iteration, epoch=epoch, anchor=self._fingerprint)
        self._file.write({**place, **found})

    def _similarity(self, runner, batches: Iterable[Any]) -> dict[str, float]:
        target = cast(str, self.target)  # there are no images for several
        backbone, prefix = find_module(unwrap(runner.model), target), f'{target}.'
        reference = {n[len(prefix) :]: t for n, t in self._theta0.items()}
        with untouched_attributes([runner.message_hub]):
            values = feature_similarity(backbone, map(inputs_of, batches), reference)
        return dict(zip(output_names(backbone, len(values)), values))

    def _try_images(self, runner) -> None:
        """Compares the first image: what cannot be is said now, and not after an epoch."""
        if self._images is None:
            return
        try:
            self._similarity(runner, itertools.islice(self._images, 1))
        except Exception as error:
            words = str(error).splitlines()
            raise ValueError(
                f'DriftHook: the features of target={self.target!r} cannot be compared '
                f'({type(error).__name__}: {words[0][:200] if words else ""}); num_images=0 leaves '
                'them out'
            ) from error

    def _names(self, model) -> list[str]:
        targets = [self.target] if isinstance(self.target, str) else self.target
        inside = tuple(f'{t}.' if t else '' for t in targets)
        buffers = [n for n, _ in model.named_buffers() if n.startswith(inside)]
        return [*self.stage_map.parameters, *buffers]

    def _find_images(self, runner, model) -> Optional[SeededBatches]:
        """The same images each time, one by one: sizes may differ, and little memory is held."""
        if not self.num_images:
            return None
        loader = runner.train_dataloader
        is_backbone = isinstance(self.target, str) and self.target.split('.')[-1] == 'backbone'
        if is_backbone and hasattr(loader.dataset, '__len__'):
            return SeededBatches(loader, model, 1, num_images=self.num_images, seed=self.seed)
        print_log(
            f'DriftHook: no similarity of features for target={self.target!r}: it takes a single '
            'target that is a backbone, and a data set of known length',
            logger='current',
        )
        return None
