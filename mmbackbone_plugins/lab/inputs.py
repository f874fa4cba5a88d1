"""A drawn batch of the size and box type that a config trains on, for counting a step."""

from collections.abc import Iterator, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from ..utils.names import type_name

BOXES = 16  # of an image that is drawn
_SIZES = ('scale', 'scales', 'img_scale', 'size')


def input_shape(config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels of what a config's training pipeline makes, with its padding.

    The largest size is taken where a pipeline chooses among several.

    Raises:
        ValueError: If the pipeline names no size; the message asks for one.
    """
    preprocessor = config['model'].get('data_preprocessor') or {}
    if preprocessor.get('size'):  # of MMSegmentation's crops
        return tuple(preprocessor['size'])
    sizes = []
    for step in _pipeline(config):
        for key in _SIZES:
            if 'Pad' not in type_name(step):
                value = step.get(key)  # MMPretrain's squares are one number
                sizes += _pairs((value, value) if isinstance(value, int) else value)
    if not sizes:
        raise ValueError(
            'the input size cannot be read off the training pipeline (no step with scale=(width, '
            'height)); give it with --shape HEIGHT WIDTH'
        )
    width, height = max(sizes, key=lambda s: s[0] * s[1])
    divisor = preprocessor.get('pad_size_divisor') or preprocessor.get('size_divisor') or 1
    return tuple(-(-side // divisor) * divisor for side in (height, width))


def draw_batch(
    config: Mapping[str, Any], model: nn.Module, shape: tuple[int, int], images: int = 1
) -> tuple[Tensor, list[Any]]:
    """Draws images and ground truth as mmdet's and mmrotate's own tests do.

    The config's pipeline says what it trains on: a kind of boxes, masks of classes
    (``PackSegInputs``) or the class of an image (``PackInputs``).

    Returns:
        Normalised images (N, C, H, W), and N data samples.
    """
    steps = {type_name(step): step for step in _pipeline(config)}
    pack = packed(config.get('train_dataloader') or {})
    if pack:
        drawn = torch.randint(256, (images, input_channels(config), *shape), dtype=torch.uint8)
        labelled = _SAMPLES[pack](images, max(_classes(config['model']), 2), shape)
        data = dict(inputs=list(drawn), data_samples=labelled)
        # Not as in training, where MMSegmentation pads to the size of its crops.
        data = model.data_preprocessor(data, training=False)
        return data['inputs'], data['data_samples']
    if box_type(config) == 'rbox':
        from mmrotate.testing import demo_mm_inputs
    else:
        from mmdet.testing import demo_mm_inputs
    device = next(model.parameters()).device
    batch = demo_mm_inputs(
        images,
        (input_channels(config), *shape),
        num_items=[BOXES] * images,
        num_classes=max(_classes(config['model']), 2),
        with_mask=bool(steps.get('LoadAnnotations', {}).get('with_mask')),
        use_box_type=box_type(config) == 'rbox',
    )
    data = model.data_preprocessor(batch, training=True)
    return data['inputs'].to(device), [sample.to(device) for sample in data['data_samples']]


def _segmentation(images: int, classes: int, shape: tuple[int, int]) -> list[Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = [SegDataSample(metainfo=dict(img_shape=shape)) for _ in range(images)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(classes, (1, *shape)))
    return samples


def _classification(images: int, classes: int, shape: tuple[int, int]) -> list[Any]:
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(torch.randint(classes, (1,))) for _ in range(images)]


# By the last step of a pipeline.
_SAMPLES = {'PackSegInputs': _segmentation, 'PackInputs': _classification}


def input_channels(config: Mapping[str, Any]) -> int:
    """Channels of the images that a config's detector takes: what its backbone says, else 3."""
    node: Any = config.get('model', {})
    while isinstance(node, Mapping):
        inner = [node[key] for key in ('detector', 'backbone') if node.get(key) is not None]
        if not inner:
            break
        node = inner[0]
    return next((node[key] for key in ('in_channels', 'in_chans') if node.get(key)), 3)


def box_type(config: Mapping[str, Any]) -> str:
    """The kind of boxes that a config trains on: ``'rbox'`` (oriented) or ``'hbox'``."""
    kind = 'hbox'
    for step in _pipeline(config):
        mapping = step.get('box_type_mapping') or {}
        kind = mapping.get('gt_bboxes', kind)
    return kind


def packed(loader: Mapping[str, Any]) -> Optional[str]:
    """The last step of a loader's pipeline if it is a segmentor's or classifier's; else None."""
    names = [type_name(step) for step in _pipeline(dict(train_dataloader=loader))]
    return next((name for name in _SAMPLES if name in names), None)


def _pipeline(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All steps of the training pipeline, those inside wrappers and choices included."""
    pending = [(config.get('train_dataloader') or {}).get('dataset')]
    while pending:
        node = pending.pop(0)
        if isinstance(node, Mapping):
            if 'type' in node:
                yield node
            pending += [
                node[k] for k in ('dataset', 'datasets', 'pipeline', 'transforms') if k in node
            ]
        elif isinstance(node, (list, tuple)):
            pending += list(node)


def _pairs(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and all(isinstance(v, int) for v in value):
            yield tuple(value)
        else:
            for item in value:
                yield from _pairs(item)


def _classes(node: Any) -> int:
    """The most classes that a head of a model config predicts; an RPN has one of its own."""
    if isinstance(node, Mapping):
        return max([node.get('num_classes') or 0, *map(_classes, node.values())])
    return max(map(_classes, node), default=0) if isinstance(node, (list, tuple)) else 0
