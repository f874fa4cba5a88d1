"""The hook that shows how far the backbone has moved from where it started."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union, cast

from mmengine.dist import is_main_process
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
from .anchors import find_anchor, save_anchor
from .checkpoint_keys import ANCHOR_KEY
from .checks import check_count, check_target, refuse_second
from .epochs import EpochHook
from .jsonl import JsonLines
from .loading import FREEZE, LoadingHook
from .runners import refuse_sharded
from .scalars import Scalars


@HOOKS.register_module()
@arguments_by_name()
class DriftHook(EpochHook, LoadingHook):
    """Measures how far the target has moved from the weights that the run started with (theta0).

    At the end of an epoch, per stage: ``||theta - theta0|| / ||theta0||`` of the weights (scalars
    ``drift/<stage>``, over all stages ``drift/network``); the shift of running means and standard
    deviations of norm layers (``drift/norm_mean``, ``drift/norm_std``); and linear CKA between the
    features now and those of the initial backbone, on a fixed set of training images
    (``cka/<stage>``). ``drift.jsonl``, in the log folder of the run's first start, has all of it,
    also where the last epoch's scalars come after the logger's last line.

    theta0 is cloned before the first step of a fresh run, and travels with the checkpoint (key
    ``mmbackbone_anchor``). Training is not changed by a bit.

    Args:
        target: Dotted path of the module to measure, or a list of paths.
        interval: Epochs from one measurement to the next; the last epoch is always measured. In an
            iteration loop an epoch is as many iterations as the training loader is long.
        num_images: Training images for the features; 0 leaves that part out. Each costs two forward
            passes. Only for a target that is a backbone; it is left out for others.
        seed: Chooses the images and their augmentation.
        offload: Whether theta0 is kept in main memory instead of on the model's device, where it is
            for all hooks if one of them needs it there.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if the target does
            not exist, there is a second hook of this kind, parameters are sharded (FSDP,
            DeepSpeed), or a resumed checkpoint has no theta0 for the target.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='DriftHook', interval=1)]
    """

    kept = (ANCHOR_KEY,)

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
        self._run: Optional[_Run] = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        super().before_save_checkpoint(runner, checkpoint)
        if self.anchor is not None:
            save_anchor(checkpoint, self.anchor)

    def before_train(self, runner) -> None:
        """Clones theta0 in a fresh run, or takes up that of the run's first start."""
        refuse_sharded(runner, 'DriftHook')
        refuse_second(runner, self)
        model = unwrap(runner.model)
        stage_map = StageMap.of(model, self.target)
        self.unloaded_of(runner, stage_map, FREEZE)  # says so if there is no theta0 at all
        if not is_main_process():
            return
        images = self._find_images(runner, model)
        if self._checkpoint == {}:
            raise ValueError(
                'DriftHook: the checkpoint to resume from has no reference weights '
                f'({ANCHOR_KEY!r}): it was saved by a run without this hook, and its weights have '
                'moved already. Resume without DriftHook, or start afresh with load_from'
            )
        names = self._names(model, stage_map)
        self.anchor = find_anchor(runner, self, model, names, self._checkpoint, self.offload)
        self._run = _Run(
            target=self.target,
            stage_map=stage_map,
            anchor=self.anchor,
            images=images,
            file=JsonLines(runner, 'drift.jsonl'),
            weights=Scalars(runner, 'drift'),
            features=Scalars(runner, 'cka'),
        )
        source = 'the start of this run' if self._checkpoint is None else 'the checkpoint'
        print_log(
            f'DriftHook: reference weights of {self.target!r} are those of {source} '
            f'(fingerprint {self._run.fingerprint})',
            logger='current',
        )
        self._measured = runner.iter
        if images is not None:
            self._try_images(runner, self._run, images)

    def _record(self, runner, epoch: int, iteration: int) -> None:
        run = cast(_Run, self._run)
        found = run.measure(runner)
        totals = {key: found[key] for key in ('network', 'norm_mean', 'norm_std')}
        run.weights.update({**found['stages'], **totals})
        run.features.update(found['cka'])
        run.file.write(dict(iter=iteration, epoch=epoch, anchor=run.fingerprint, **found))

    def _try_images(self, runner, run: '_Run', images: SeededBatches) -> None:
        """Compares the first image: what cannot be is said now, and not after an epoch."""
        try:
            run.similarity(runner, itertools.islice(images, 1))
        except Exception as error:
            words = str(error).splitlines()
            raise ValueError(
                f'DriftHook: the features of target={self.target!r} cannot be compared '
                f'({type(error).__name__}: {words[0][:200] if words else ""}); num_images=0 leaves '
                'them out'
            ) from error

    def _names(self, model, stage_map: StageMap) -> list[str]:
        targets = [self.target] if isinstance(self.target, str) else self.target
        inside = tuple(f'{t}.' if t else '' for t in targets)
        buffers = [n for n, _ in model.named_buffers() if n.startswith(inside)]
        return [*stage_map.parameters, *buffers]

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


@dataclass
class _Run:
    """A run under way, on the rank that measures."""

    target: Union[str, list[str]]
    stage_map: StageMap
    anchor: Anchor
    images: Optional[SeededBatches]
    file: JsonLines
    weights: Scalars
    features: Scalars

    def __post_init__(self) -> None:
        self.fingerprint = self.anchor.fingerprint()

    def measure(self, runner) -> dict[str, Any]:
        """All numbers now, as the file has them."""
        model = unwrap(runner.model)
        state, anchor = named_tensors(model), self.anchor.tensors
        stages = weight_drift(state, anchor, {s.name: s.parameters for s in self.stage_map})
        # Added blocks have no pre-trained weights to be far from.
        own = [n for s in self.stage_map if not s.is_block for n in s.parameters]
        network = weight_drift(state, anchor, dict(network=own))['network']
        norms = {s.name: norm_buffers(model, s.modules) for s in self.stage_map}
        by_stage = {
            n: dict(zip(('mean', 'std'), statistics_drift(state, anchor, means)))
            for n, means in norms.items()
            if means
        }
        mean, std = statistics_drift(state, anchor, [n for part in norms.values() for n in part])
        return dict(
            stages=stages,
            network=network,
            norm_statistics=by_stage,
            norm_mean=mean,
            norm_std=std,
            cka={} if self.images is None else self.similarity(runner, self.images),
        )

    def similarity(self, runner, batches: Iterable[Any]) -> dict[str, float]:
        target = cast(str, self.target)  # there are no images for several
        backbone, prefix = find_module(unwrap(runner.model), target), f'{target}.'
        reference = {n[len(prefix) :]: t for n, t in self.anchor.tensors.items()}
        with untouched_attributes([runner.message_hub]):
            values = feature_similarity(backbone, map(inputs_of, batches), reference)
        return dict(zip(output_names(backbone, len(values)), values))
