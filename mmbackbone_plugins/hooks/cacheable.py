"""What a feature cache asks of a run, found before its first step."""

import pickle
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Callable

import torch
from torch import Tensor, nn

from ..freezing.feature_cache import frozen_phases, restless
from ..freezing.forwards import patched
from ..utils.branches import has_branches, losses_of
from ..utils.seeded_loader import hidden_state
from ..utils.text import some
from ..utils.untouched import seed_everything
from ..utils.views import View, ViewLoader
from .freezing_scheduler_hook import FreezingSchedulerHook
from .full_reference import beside_the_run
from .runners import refuse_sharded

_MIXING = ('MultiImageMixDataset', 'Mosaic', 'MixUp', 'CopyPaste')
_SWITCHING = ('PipelineSwitchHook', 'YOLOXModeSwitchHook')
_LOOKS = 4  # images whose shapes are compared


@dataclass(frozen=True)
class Probe:
    """What one image has told."""

    shape: tuple[int, ...]  # of the loaded image
    outputs: list[Tensor]  # of the backbone
    read: list[bool]  # whether anybody reads it
    seconds: float  # of a forward pass of the backbone


def check_run(runner, model: Any) -> None:
    """Raises a ValueError where features cannot be kept, or views not be repeated."""
    refuse_sharded(runner, 'FeatureCacheHook')
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise ValueError(f'FeatureCacheHook: {type(model).__name__} has no backbone')
    if runner.cfg.get('compile', None) not in (None, False):
        raise ValueError(
            f'FeatureCacheHook: compile={runner.cfg["compile"]!r} makes one graph of the step; a '
            'cache needs compile=False'
        )
    augments = getattr(getattr(model, 'data_preprocessor', None), 'batch_augments', None)
    if augments:
        names = ', '.join(type(a).__name__ for a in augments)
        raise ValueError(
            f'FeatureCacheHook: data_preprocessor.batch_augments ({names}) changes images after '
            'they are loaded, and a kept view has none; leave it out'
        )
    rulers = [h for h in runner.hooks if isinstance(h, FreezingSchedulerHook)]
    if not rulers:
        model.train()  # some backbones (Swin) freeze their own stages only here
    modes = {h.frozen_mode for h in rulers} - {'eval'}
    loud = [] if rulers else [n for n, m in restless(model.backbone).items() if m.training]
    if modes or loud:
        what = f'frozen_mode={modes.pop()!r}' if modes else f'{", ".join(loud[:3])} in train mode'
        raise ValueError(
            f'FeatureCacheHook: {what}: the features of an image would not be the same twice; use '
            "FreezingSchedulerHook with frozen_mode='eval'"
        )
    for hook in runner.hooks:
        if type(hook).__name__ in _SWITCHING:
            raise ValueError(
                f'FeatureCacheHook: {type(hook).__name__} exchanges the pipeline in the middle of '
                'the run; kept views are of one pipeline'
            )
    loader = runner.train_dataloader
    if not hasattr(loader.dataset, '__len__') or not hasattr(loader.dataset, 'get_data_info'):
        raise ValueError(
            f'FeatureCacheHook: {type(loader.dataset).__name__} has no length or no get_data_info, '
            "which tells what an image is; use a data set of mmengine's BaseDataset"
        )
    mixing = hidden_state(loader) + [t for t in _types(loader.dataset) if t.endswith(_MIXING)]
    if mixing:
        raise ValueError(
            f'FeatureCacheHook: train_dataloader: {", ".join(mixing)} makes a sample of more than '
            'one image or keeps something from one sample to the next; views of single images only'
        )


def check_frozen(runner, model: Any) -> None:
    """Raises a ValueError if a part of the backbone trains in all phases of the run."""
    ruler = next((h for h in runner.hooks if isinstance(h, FreezingSchedulerHook)), None)
    freezer = ruler.freezer if ruler else None
    ruled = freezer.parameters_of(freezer.stage_map.names) if freezer else []
    free = {id(p) for p in model.parameters() if p.requires_grad} - {id(p) for p in ruled}
    always = [n for n, p in model.backbone.named_parameters() if id(p) in free]
    why = f'{some(always, 3)} trains' if always else ''
    if ruler and freezer and not always and not ruler.schedule.decides:
        if not frozen_phases(ruler.phases, freezer, model.backbone):
            why = f'schedule={ruler.schedule!r} trains a part of it in every phase'
    if why:
        raise ValueError(
            f'FeatureCacheHook: the backbone is never wholly frozen: {why}; use a schedule such as '
            "dict(type='FrozenBackbone'), without blocks in the backbone and keep_trainable"
        )


def check_views(loader: Any, views: ViewLoader) -> list[Any]:
    """Reads views of some images, twice, and returns the first as the model gets it, collated.

    A ValueError says why they cannot be kept: shapes that differ, a pipeline whose random numbers
    no seed sets, or samples that are no dicts of one image.
    """
    places = [i * len(loader.dataset) // _LOOKS for i in range(_LOOKS)]
    samples = [views.dataset.load(View(i, 0)) for i in dict.fromkeys(places)]
    first = samples[0]
    if not isinstance(first, dict) or has_branches(first) or not _single(first):
        raise ValueError(
            "FeatureCacheHook: a sample of the data set is no dict with 'inputs', one image, and "
            "'data_samples', as PackDetInputs makes it"
        )
    shapes = sorted({tuple(s['inputs'].shape) for s in samples})
    if len(shapes) > 1:
        raise ValueError(
            f'FeatureCacheHook: train_dataloader gives images of shapes {shapes}; views can be '
            'kept of images of one size only, such as tiles'
        )
    again = views.dataset.load(View(places[0], 0))
    if not torch.equal(first['inputs'], again['inputs']):
        raise ValueError(
            'FeatureCacheHook: the training pipeline gave two images for one seed; random numbers '
            'must be those of random, numpy or torch'
        )
    place = View(places[0], 0)
    batch = [dict(first, view=place), dict(inputs=None, data_samples=None, view=place)]
    try:
        found = loader.collate_fn(batch)
    except TypeError:  # torch's own, which stacks what it is given
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise ValueError(
            'FeatureCacheHook: train_dataloader.collate_fn must give a dict of lists; use '
            "dict(type='pseudo_collate')"
        )
    return loader.collate_fn([first])


def probe(runner, model: Any, batch: Any) -> Probe:
    """Takes one image through the whole model, and leaves no trace.

    An output of the backbone is read by nobody if the losses are the same without it. A ValueError
    if the backbone is not called once, or returns anything but a tuple or list of maps.
    """
    shape = tuple(batch['inputs'][0].shape)
    calls: list[Any] = []
    seconds: list[float] = []
    missing = -1

    def forward(own: Callable, images: Tensor) -> Any:
        start = time.perf_counter()
        outputs = own(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        seconds.append(time.perf_counter() - start)
        calls.append(outputs)
        if missing < 0:
            return outputs
        changed = list(outputs)
        changed[missing] = torch.full_like(outputs[missing], torch.nan)
        return type(outputs)(changed)

    def losses() -> list[Tensor]:
        with _once(runner, model), patched(model.backbone, forward):
            found = losses_of(model, model.data_preprocessor(pickle.loads(pickled), True))
        return list(chain.from_iterable(v if isinstance(v, list) else [v] for v in found.values()))

    pickled = pickle.dumps(batch)
    usual = losses()
    if len(calls) != 1:
        raise ValueError(
            f'FeatureCacheHook: {type(model).__name__} calls its backbone {len(calls)} times for a '
            'batch; a cache needs one call'
        )
    outputs, kind = calls[0], type(calls[0]).__name__
    if not isinstance(outputs, (tuple, list)) or not all(isinstance(o, Tensor) for o in outputs):
        raise ValueError(
            f'FeatureCacheHook: {type(model.backbone).__name__} returns {kind}; a cache needs a '
            'tuple or list of maps'
        )
    read = []
    for level in range(len(outputs)):
        missing = level
        try:
            read.append(not all(map(torch.equal, usual, losses())))
        except Exception:  # whoever reads it may refuse what is no number
            read.append(True)
    return Probe(shape, list(outputs), read, statistics.median(seconds))


@contextmanager
def _once(runner, model: nn.Module) -> Iterator[None]:
    """A forward pass as in a frozen step, of one image, by itself."""
    with beside_the_run(runner, model) as context, torch.no_grad(), context:
        backbone: Any = model.backbone
        for part in backbone.modules():
            part.training = False
        seed_everything(0)
        yield


def _single(sample: dict) -> bool:
    image = sample.get('inputs')
    return 'data_samples' in sample and isinstance(image, Tensor) and image.dim() == 3


def _types(dataset: Any) -> list[str]:
    """Names of the types of a data set, those in it, and their transforms."""
    found, rest, seen = [], [dataset], set()
    while rest:
        part = rest.pop()
        if id(part) in seen or not hasattr(part, '__dict__'):
            continue
        seen.add(id(part))
        found.append(type(part).__name__)
        for name in ('pipeline', 'transforms', 'dataset', 'datasets'):
            value = vars(part).get(name, ())
            rest += value if isinstance(value, (list, tuple)) else [value]
    return found
