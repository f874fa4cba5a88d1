"""The hook that follows what the features span, epoch by epoch."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union, cast

from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ..spectra.collect import collect_moments
from ..spectra.files import Spectra, save_spectra
from ..spectra.layers import convolution_layers, default_layers, resolve_layers
from ..spectra.masks import check_region
from ..spectra.moments import SecondMoment
from ..spectra.spectrum import check_threshold, summarize
from ..utils.checks import flag
from ..utils.names import arguments_by_name
from ..utils.sampling import SeededBatches
from ..utils.text import some
from ..utils.untouched import untouched_attributes
from ..utils.wrappers import unwrap
from .checks import check_count, check_names, refuse_second
from .epochs import EpochHook
from .jsonl import JsonLines
from .runners import refuse_sharded
from .scalars import Scalars

FOLDER = 'eigenspectrum'  # beside eigen.jsonl


@HOOKS.register_module()
@arguments_by_name()
class EigenspectrumHook(EpochHook):
    """Measures the eigenvalues of the features' second moments: before training and after epochs.

    Scalars ``eigen/<layer>/dim`` are intrinsic dimensionalities (eigenvalues above ``threshold``).
    ``eigen.jsonl``, in the log folder of the run's first start, has the summary of every layer, and
    ``eigenspectrum/epoch_<n>.npz`` beside it the spectra (``iter_<n>.npz`` in an iteration loop);
    epoch 0 is before the first step of a fresh run.

    Training is not changed by a bit. Ranks share the images, and the result is that of one process
    (norm layers with statistics of their own on each rank make ranks differ: see SyncBuffersHook).

    Args:
        layers: Names of modules, or patterns with ``*``; default is the outputs of the backbone's
            stages and of the neck (``backbone.stage1``, ..., ``neck.out0``, ...), of a
            semi-supervised detector the student's (``student.backbone.stage1``, ...).
        interval: Epochs from one measurement to the next; the last epoch is always measured. In an
            iteration loop an epoch is as many iterations as the training loader is long.
        num_batches: Batches of images, all ranks together; fewer if the data set is smaller.
        threshold: Of the eigenvalues that count.
        relative: Whether ``threshold`` is a part of the largest eigenvalue.
        center: Whether the mean is subtracted. The paper does not.
        convolutions: Also measure every convolution, norm layer and activation of the backbone and
            the neck; these are in the files, not among the scalars.
        foreground: ``'foreground'`` or ``'background'`` of the ground-truth boxes; ``'classes'``
            of segmentation labels, each by itself (``<layer>@<class>``); None for all positions.
        stride: Take only every ``stride``-th row and column of a feature map.
        split: ``'val'`` or ``'train'``: whose images. Training images are augmented, the same way
            each time; a data set with branches gives its labelled ones.
        seed: Chooses the images and their augmentation.

    Raises:
        ValueError: If an argument is not one of the above; in ``before_train``, if a layer does not
            exist, there is no validation data, there is a second hook of this kind, or parameters
            are sharded (FSDP, DeepSpeed); while measuring, if a layer yields no features or NaN.

    Source:
        arXiv 1909.04021. Which layers, how many images and how often: our reading.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> custom_hooks = [dict(type='EigenspectrumHook', interval=1)]
    """

    def __init__(
        self,
        layers: Union[str, Sequence[str], None] = None,
        interval: int = 1,
        num_batches: int = 50,
        threshold: float = 1e-3,
        relative: bool = False,
        center: bool = False,
        convolutions: bool = False,
        foreground: Optional[str] = None,
        stride: int = 1,
        split: str = 'val',
        seed: int = 0,
    ) -> None:
        self.relative = flag('relative', relative)
        check_threshold(threshold, relative)
        check_region(foreground)
        if split not in ('val', 'train'):
            raise ValueError(f"split must be 'val' or 'train', got {split!r}")
        self.layers = layers and check_names('layers', layers)
        self.interval = check_count('interval', interval)
        self.num_batches = check_count('num_batches', num_batches)
        self.threshold, self.foreground = threshold, foreground
        self.center = flag('center', center)
        self.convolutions = flag('convolutions', convolutions)
        self.stride = check_count('stride', stride)
        self.split = split
        self.seed = check_count('seed', seed, least=0)
        self._resumed = False
        self._warned = False
        self._run: Optional[_Run] = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remembers that the run is resumed: its start has been measured, or was long ago."""
        self._resumed = bool(runner._resume)

    def before_train(self, runner) -> None:
        refuse_sharded(runner, 'EigenspectrumHook')
        refuse_second(runner, self)
        model = unwrap(runner.model)
        shown = resolve_layers(model, self.layers or default_layers(model))
        inside = convolution_layers(model, default_layers(model)) if self.convolutions else []
        batches = SeededBatches(
            self._find_loader(runner),
            model,
            num_batches=self.num_batches,
            seed=self.seed,
            rank=get_rank(),
            world_size=get_world_size(),
        )
        self._run = _Run(
            shown,
            list(dict.fromkeys([*shown, *inside])),
            batches,
            Scalars(runner, 'eigen'),
            JsonLines(runner, 'eigen.jsonl'),
        )
        self._run.set_aside()
        self._measured = runner.iter
        if not self._resumed:
            self._record(runner, 0, runner.iter)

    def measure(self, runner) -> dict[str, SecondMoment]:
        """Second moments by layer, of the images of all ranks; every rank has to call it."""
        run = cast(_Run, self._run)
        found: dict[str, SecondMoment] = {}
        error: Optional[ValueError] = None
        if len(run.batches):
            try:
                with untouched_attributes([runner.message_hub]):
                    found = collect_moments(
                        unwrap(runner.model),
                        run.batches,
                        run.layers,
                        foreground=self.foreground,
                        stride=self.stride,
                    )
            except ValueError as caught:
                error = caught
        return _of_all_ranks(found, error)

    def _record(self, runner, epoch: int, iteration: int) -> None:
        start, run = time.perf_counter(), cast(_Run, self._run)
        moments = self.measure(runner)
        written = run.file.path
        if written is None:  # not rank 0
            return
        info = dict(epoch=epoch, iter=iteration, images=max(m.images for m in moments.values()))
        names = ('threshold', 'relative', 'center', 'foreground', 'stride', 'split', 'seed')
        info.update((name, getattr(self, name)) for name in names)
        layers = {
            name: summarize(moment, self.threshold, self.relative, self.center)
            for name, moment in moments.items()
            if moment.images
        }
        spectra = Spectra(layers, info)
        self._warn(spectra, [name for name in moments if name not in layers])
        # The last epoch of an iteration loop may be cut, and then has the number of the one before.
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        file = f'{FOLDER}/{f"iter_{iteration}" if by_iter else f"epoch_{epoch}"}.npz'
        path = written.parent / file
        path.parent.mkdir(exist_ok=True)
        save_spectra(path, spectra)
        summaries = {name: s.summary.to_dict() for name, s in layers.items()}
        run.file.write(dict(info, file=file, layers=summaries))
        shown = {f'{n}/dim': s.summary.dim for n, s in layers.items() if run.is_shown(n)}
        run.scalars.update(shown)
        print_log(
            f'EigenspectrumHook: {len(layers)} layers over {info["images"]} images '
            f'({self.split}) in {time.perf_counter() - start:.1f} s: {path}',
            logger='current',
        )

    def _warn(self, spectra: Spectra, empty: list[str]) -> None:
        """Says once what the numbers are limited by."""
        texts = []
        if spectra.rank_limited:
            texts.append(
                'fewer positions than channels: the number of images limits the dimension, not the '
                f'network, in {some(spectra.rank_limited, 5)}; raise num_batches'
            )
        if empty:
            texts.append(f'left out, for no position counts: {some(empty, 5)}')
        for text in texts if not self._warned else ():
            print_log(f'EigenspectrumHook: {text}', logger='current', level=logging.WARNING)
        self._warned = True

    def _find_loader(self, runner) -> Any:
        if self.split == 'train':
            return runner.train_dataloader
        if runner.val_loop is None:
            raise ValueError(
                "EigenspectrumHook: split='val', but the run has no validation data "
                "(val_dataloader, val_cfg and val_evaluator); give them or set split='train'"
            )
        return runner.val_dataloader


@dataclass
class _Run:
    """A run under way."""

    shown: list[str]  # layers that were asked for
    layers: list[str]  # and those of ``convolutions``
    batches: SeededBatches
    scalars: Scalars
    file: JsonLines

    def is_shown(self, name: str) -> bool:
        """Whether an output is of a layer that was asked for."""
        layer = name.partition('@')[0].partition('#')[0]
        # A name that is no module's is one of several outputs, which no convolution has.
        return layer in self.shown or layer not in self.layers

    def set_aside(self) -> None:
        """Files of epochs that a resumed run does again are kept, under another name."""
        for line in self.file.superseded:
            path = self.file.path.parent / line['file']  # type: ignore[union-attr]
            if path.is_file():
                path.replace(path.with_name(f'{path.name}.superseded'))


def _of_all_ranks(
    found: dict[str, SecondMoment], error: Optional[ValueError]
) -> dict[str, SecondMoment]:
    """Adds up over ranks; an error on one of them is raised on all, for the others would wait."""
    if get_world_size() == 1:
        if error is not None:
            raise error
        return found
    own = {name: moment.num_channels for name, moment in found.items()}
    widths: dict[str, int] = {}
    for rank, (text, part) in enumerate(all_gather_object((error and str(error), own))):
        if text is not None:
            raise ValueError(f'rank {rank}: {text}') from error
        widths.update(part)  # a rank without images knows no layers
    for name, width in widths.items():
        moment = found.get(name) or SecondMoment(width)
        state = moment.state_dict()
        for tensor in state.values():
            all_reduce(tensor)
        found[name] = moment.load_state_dict(state)
    return {name: found[name] for name in widths}
