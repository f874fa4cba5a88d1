"""EfficientNet-Lite: MMDetection's EfficientNet with the table of the Lite variants."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Optional

from mmdet.models.backbones.efficientnet import EfficientNet, make_divisible

ARCHS = {'lite0': (1.0, 1.0), 'lite1': (1.0, 1.1), 'lite2': (1.1, 1.2)}  # width, depth


class EfficientNetLite(EfficientNet):
    """EfficientNet without squeeze-and-excitation, with ReLU6 and a stem and head of fixed width.

    Its stages are those of mmdet's EfficientNet: ``layers.0`` is the stem, ``layers.1`` to
    ``layers.5`` have outputs at strides 2, 4, 8, 16 and 32, ``layers.6`` is the head of the
    classifier, which is built if it is in ``out_indices``. ImageNet weights come from a package:
    ``tools/model_converters/efficientnet_lite.py``. Pictures are RGB with
    ``mean=[127.5] * 3, std=[127.5] * 3``.

    Args:
        arch: ``'lite0'``, ``'lite1'`` or ``'lite2'``.
        out_indices: Layers whose outputs are returned; by default strides 4, 8, 16 and 32, which
            have 24, 40, 112 and 320 channels (lite2: 24, 48, 120 and 352).
        act_cfg: Activation; ReLU6, with which the weights were trained, by default.
        **options: All other arguments of mmdet's EfficientNet: ``frozen_stages``, ``norm_cfg``,
            ``norm_eval``, ``drop_path_rate``, ``with_cp``, ``init_cfg``, ...

    Raises:
        ValueError: If the architecture is not one of the three.

    Source:
        The Lite variants of Google's repository tensorflow/tpu (``efficientnet/lite``).

    Examples:
        >>> import torch
        >>> from mmbackbone_plugins import EfficientNetLite
        >>> backbone = EfficientNetLite('lite0')
        >>> [feature.shape[1] for feature in backbone(torch.rand(1, 3, 64, 64))]
        [24, 40, 112, 320]
    """

    def __init__(
        self,
        arch: str = 'lite0',
        *,
        out_indices: Sequence[int] = (2, 3, 4, 5),
        act_cfg: Optional[dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        if arch not in ARCHS:
            raise ValueError(f'arch must be one of {list(ARCHS)}, got {arch!r}')
        # mmdet looks a table up by the first letter and scales it; this one is scaled already.
        self.layer_settings = {arch[:1]: _layers(*ARCHS[arch])}
        self.arch_settings = {arch: (1.0, 1.0, None)}
        act_cfg = act_cfg or dict(type='ReLU6')
        super().__init__(arch, out_indices=out_indices, act_cfg=act_cfg, **options)


def _layers(width: float, depth: float) -> list:
    """The table of EfficientNet-B0 in another width and depth; its ends stay single blocks."""
    stem, *layers, head = EfficientNet.layer_settings['b']
    last = layers[-1][-1][1]
    scaled: list = []
    for i, layer in enumerate(layers):
        scaled.append([])
        for channels, rows in groupby(layer, key=lambda row: row[1]):
            blocks = list(rows)
            if i and channels != last:
                blocks += [blocks[-1]] * (math.ceil(depth * len(blocks)) - len(blocks))
            out = make_divisible(channels * width, 8)
            # A row begins with kernel size, channels and squeeze-and-excitation (0: none).
            scaled[-1] += [[kernel, out, 0, *rest] for kernel, _, _, *rest in blocks]
    return [stem, *scaled, head]
