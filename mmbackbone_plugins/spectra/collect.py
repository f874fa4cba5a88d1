"""Second moments of a model's layers over images, without a trace in the model."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union, cast

import torch
from torch import nn

from ..utils.branches import detector_around
from ..utils.checks import whole_number
from ..utils.modes import set_mode
from ..utils.untouched import untouched
from .layers import channels_first, describe, features_of, names_of_outputs, resolve_layers
from .masks import (
    CLASSES,
    ImageGeometry,
    check_region,
    class_masks,
    geometry_of,
    position_mask,
    token_grid,
)
from .moments import NonFiniteFeature, SecondMoment


def forward_tensors(model: nn.Module) -> Callable[[Any], Any]:
    """Goes forward up to raw outputs: ``mode='tensor'`` of a detector, else a plain call."""
    return lambda batch: model(**batch, mode='tensor') if isinstance(batch, dict) else model(batch)


def forward_features(model: nn.Module) -> Callable[[Any], Any]:
    """Goes forward up to the neck (``extract_feat`` of a detector): no head is computed."""
    return lambda batch: cast(Any, model).extract_feat(_inputs(batch))


def needed_forward(model: nn.Module, layers: Iterable[str]) -> Callable[[Any], Any]:
    """The cheaper of the two that reaches all the layers."""
    layers = list(layers)
    detector = detector_around(model, layers)
    parts = [getattr(detector, name, None) for name in ('backbone', 'neck')]
    cheap = {m for part in parts if isinstance(part, nn.Module) for m in part.modules()}
    inside = all(model.get_submodule(layer) in cheap for layer in layers)
    reaches = inside and hasattr(detector, 'extract_feat')
    return forward_features(detector) if reaches else forward_tensors(detector)


def _inputs(batch: Any) -> Any:
    return batch['inputs'] if isinstance(batch, dict) else batch


@torch.no_grad()
def collect_moments(
    model: nn.Module,
    batches: Iterable[Any],
    layers: Union[str, Sequence[str]],
    *,
    num_images: Optional[int] = None,
    foreground: Optional[str] = None,
    stride: int = 1,
    groups: Optional[int] = None,
    forward: Optional[Callable[[Any], Any]] = None,
    progress: Optional[Callable[[int], None]] = None,
) -> dict[str, Any]:
    """Second moments of what modules return, over batches of images.

    The model is in eval mode meanwhile; parameters, buffers, modes, gradients and random numbers
    are afterwards as they were, and the hooks are gone, after an exception too. A feature is added
    up where it appears and never kept.

    Args:
        model: The model, without a distributed wrapper.
        batches: Batches as the model's ``forward`` takes them, after the data preprocessor: dicts
            with ``inputs`` (``(N, 3, H, W)``) and ``data_samples``, or tensors.
        layers: Names of modules, or patterns with ``*`` (modules that match and yield no features
            are left out).
        num_images: Images to take at most; all by default.
        foreground: ``'foreground'`` or ``'background'`` of the ground-truth boxes; ``'classes'``
            of segmentation labels, each by itself (``<layer>@<class>``); None for all positions.
            Padding never counts.
        stride: Take only every ``stride``-th row and column of a feature map (of tokens whose grid
            is not known: every ``stride``-th token).
        groups: Keep that many moments a layer, of disjoint images (image ``i`` is in group
            ``i % groups``), to resample from. They merge to the moment of all.
        forward: Takes a batch; default is :func:`needed_forward`.
        progress: Called with the number of images done.

    Returns:
        A moment (with ``groups`` a list of them) by layer, in the order of computation. A module
        with several outputs has ``<module>.stage1``, ... (a backbone) or ``<module>.out0``, ...;
        the second call of a module in one pass is ``<module>#2``.

    Raises:
        ValueError: If an argument is not one of the above, a layer does not exist, is not called
            or yields nothing of the shape of features, features are NaN (layer and image are
            named), or there are no images.

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import collect_moments
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
        >>> collect_moments(model, [torch.rand(2, 3, 8, 8)], layers=['0', '1'])
        {'0': SecondMoment(4, images=2, samples=128), '1': SecondMoment(4, images=2, samples=128)}
    """
    check_region(foreground)
    for name, value in (('stride', stride), ('num_images', num_images), ('groups', groups)):
        if value is not None:
            whole_number(name, value, allowed='a positive whole number')
    wanted = resolve_layers(model, layers)
    forward = forward or needed_forward(model, wanted)
    found: dict[str, list[SecondMoment]] = {}  # in the order of computation
    named = {layers} if isinstance(layers, str) else set(layers)
    taps = [_Tap(model, n, found, foreground, stride, groups or 1, n in named) for n in wanted]
    done = 0
    with untouched(model), ExitStack() as hooks:
        set_mode(model, False)
        for tap in taps:
            handle = model.get_submodule(tap.layer).register_forward_hook(tap)
            hooks.callback(handle.remove)
        for batch in batches:
            inputs = _inputs(batch)
            take = len(inputs) if num_images is None else min(len(inputs), num_images - done)
            for tap in taps:
                tap.begin(len(inputs), take, done, tuple(inputs.shape[-2:]), geometry_of(batch))
            forward(batch)
            for tap in taps:
                tap.end()
            done += take
            if progress is not None:
                progress(done)
            if done == num_images:
                break
    if not done:
        raise ValueError('no images to collect second moments from')
    if not found:
        raise ValueError(f'layers={layers!r}: none of these modules yields features')
    return found if groups else {name: moments[0] for name, moments in found.items()}


@dataclass
class _Tap:
    """The forward hook of a module."""

    model: nn.Module
    layer: str
    moments: dict[str, list[SecondMoment]]
    region: Optional[str]
    stride: int
    groups: int
    strict: bool  # a pattern may match what is never called or yields no features

    def begin(
        self,
        number: int,
        take: int,
        first: int,
        shape: tuple[int, int],
        geometry: Optional[list[ImageGeometry]],
    ) -> None:
        self.number, self.take, self.first, self.shape = number, take, first, shape
        self.geometry, self.calls = geometry, 0
        if geometry is None and self.region is not None:
            raise ValueError(
                f'foreground={self.region!r} needs batches with data samples that have ground truth'
            )

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.calls += 1
        features = features_of(output, self.number if self.strict else 0)
        if not features and self.strict:
            raise ValueError(
                f'layer {self.layer!r} ({type(module).__name__}) yields {describe(output)}: no '
                'feature map (N, C, H, W) and no tokens (N, L, C)'
            )
        if not features:
            return
        again = f'#{self.calls}' if self.calls > 1 else ''
        names = names_of_outputs(self.model, self.layer, len(features))
        for name, feature in zip(names, features):
            self._add(f'{name}{again}', feature)

    def end(self) -> None:
        if not self.calls and self.strict:
            raise ValueError(
                f'layer {self.layer!r} is not called when the model goes forward (or by its method '
                'forward, past all hooks): name a module inside it, or another one'
            )

    def _add(self, name: str, feature: torch.Tensor) -> None:
        if len(feature) != self.number:
            raise ValueError(
                f'layer {name!r} yields {tuple(feature.shape)} for {self.number} images: not one '
                'feature map an image (maps of regions or windows are no feature maps here)'
            )
        feature = channels_first(feature.detach(), self.shape)
        if feature.dim() == 3 and (grid := token_grid(feature.shape[1], self.shape)):
            feature = feature.transpose(1, 2).unflatten(2, grid)
        for part, mask in self._masks(name, feature[: self.take]).items():
            self._add_part(f'{name}{part}', feature, mask)

    def _add_part(self, name: str, feature: torch.Tensor, mask: Optional[torch.Tensor]) -> None:
        is_map = feature.dim() == 4
        width = feature.shape[1 if is_map else 2]
        moments = self.moments.setdefault(name, [SecondMoment(width) for _ in range(self.groups)])
        if moments[0].num_channels != width:
            raise ValueError(
                f'layer {name!r} had {moments[0].num_channels} channels and now has {width}: its '
                'tokens or maps are not of a fixed width'
            )
        feature = feature[: self.take]
        step = self.stride
        feature = feature[..., ::step, ::step] if is_map else feature[:, ::step]
        mask = None if mask is None else mask[:, ::step, ::step]
        for group, moment in enumerate(moments):
            start = (group - self.first) % self.groups
            part = slice(start, None, self.groups)
            if start >= len(feature):
                continue
            try:
                moment.update(feature[part], None if mask is None else mask[part])
            except NonFiniteFeature as error:
                image = start + error.image * self.groups
                path = self.geometry[image].name if self.geometry else ''
                where = f'{self.first + image}' + (f' ({path})' if path else '')
                raise ValueError(f'layer {name!r} yields NaN or Inf for image {where}') from error

    def _masks(self, name: str, feature: torch.Tensor) -> dict[str, Optional[torch.Tensor]]:
        """Positions that count, by what is put behind the layer's name."""
        if self.geometry is None:
            return {'': None}
        geometry = self.geometry[: self.take]
        if feature.dim() == 4:
            rows, columns = feature.shape[2:]
            grid, device = (rows, columns), feature.device
            if self.region == CLASSES:
                masks = class_masks(geometry, grid, device)
                return {f'@{label}': mask for label, mask in masks.items()}
            return {'': position_mask(geometry, grid, self.region, device)}
        if self.region is not None or any(image.padded for image in geometry):
            raise ValueError(
                f'layer {name!r} yields {feature.shape[1]} tokens for an input of {self.shape}: '
                'where they are in the image is not known, so padding and regions cannot be told'
            )
        return {'': None}
