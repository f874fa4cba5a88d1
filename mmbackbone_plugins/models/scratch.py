"""A config that trains a detector with other widths from random weights."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..utils.checks import whole_number
from ..utils.names import type_name

NORMS = ('auto', 'gn', 'bn')
# They keep the backbone near its pre-trained weights, of which a run from scratch has none.
HOLDING_HOOKS = ('FreezingSchedulerHook', 'DistortionRegularizerHook')


def scratch_norm(backbone: Mapping[str, Any], kind: str = 'auto', groups: int = 32) -> dict:
    """The norm of a backbone that trains from scratch.

    Frozen statistics are those of a pre-trained network, and batch statistics of the two images
    that detectors are trained with are poor; the usual way out is group norm (He et al.,
    arXiv 1811.08883).

    Returns a ``norm_cfg``. Of kind ``'gn'`` it is a group norm, of ``groups`` where there was none
    before; of ``'bn'`` a batch norm with statistics of the batch; of ``'auto'`` the norm in the
    backbone's config if it trains, affine parameters and statistics, else group norm. A ValueError
    for another kind, or if ``groups`` is not a positive integer.
    """
    if kind not in NORMS:
        raise ValueError(f'norm must be one of {NORMS}, got {kind!r}')
    whole_number('num_groups', groups)
    own = dict(backbone.get('norm_cfg') or dict(type='BN', requires_grad=True))
    name = type_name(own)
    batch = 'BN' in name or 'BatchNorm' in name
    trains = own.get('requires_grad', True) and not (batch and backbone.get('norm_eval', True))
    if kind == 'auto' and trains or kind == 'gn' and name in ('GN', 'GroupNorm'):
        return {**own, 'requires_grad': True}
    if kind == 'bn':
        return dict(type=own['type'] if batch else 'BN', requires_grad=True)
    return dict(type='GN', num_groups=groups, requires_grad=True)


def smallest_multiple(norm: Mapping[str, Any], deep_stem: bool = False, multiple: int = 8) -> int:
    """What widths must be a multiple of, besides ``multiple``, so that a norm's groups divide them.

    ``deep_stem``: those of convolutions of half the stem's width too.
    """
    groups = norm.get('num_groups') or 1
    return math.lcm(multiple, groups * (2 if deep_stem else 1))


def scratch_overrides(
    cfg: Config, widths: Mapping[str, Any], norm: Mapping[str, Any]
) -> dict[str, Any]:
    """What a config sets on top of another to train with other widths from random weights.

    The other's backbone is one of :func:`width_slots`; ``widths`` are the arguments of a
    ``WidthResNet``, ``norm`` its ``norm_cfg``. Where a setting replaces a dict as a whole it has
    ``_delete_``. A ValueError if the detector has no neck with ``in_channels``.
    """
    own = cfg.model.backbone
    neck = cfg.model.get('neck', None)
    if not isinstance(neck, Mapping) or not isinstance(neck.get('in_channels'), Sequence):
        raise ValueError(
            'model.neck must be one module with a list in_channels, such as an FPN, so that it can '
            f'follow the widths of the backbone; got {neck}'
        )
    stages = len(widths['stage_widths'])
    outputs = own.get('out_indices', (0, 1, 2, 3))
    backbone: dict[str, Any] = dict(type='WidthResNet', **widths)
    if type_name(own) == 'ResNetV1d':
        backbone.update(deep_stem=True, avg_down=True)
    backbone.update(frozen_stages=-1, norm_eval=False, init_cfg=None)
    if 'pretrained' in own:
        backbone['pretrained'] = None
    if dict(own.get('norm_cfg') or {}) != dict(norm):
        backbone['norm_cfg'] = dict(_delete_=True, **norm)
    model: dict[str, Any] = dict(
        backbone=backbone,
        neck=dict(in_channels=[widths['stage_widths'][i] for i in outputs if i < stages]),
    )
    if cfg.model.get('init_cfg', None) is not None:
        model['init_cfg'] = None
    found: dict[str, Any] = dict(model=model)
    imports = cfg.get('custom_imports', None) or dict(imports=[])
    listed = imports['imports']
    listed = [listed] if isinstance(listed, str) else list(listed)
    if 'mmbackbone_plugins' not in listed:
        listed.append('mmbackbone_plugins')
        found['custom_imports'] = dict(imports=listed, allow_failed_imports=False)
    hooks = cfg.get('custom_hooks', None) or []
    kept = [h for h in hooks if type_name(h) not in HOLDING_HOOKS]
    if len(kept) < len(hooks):
        found['custom_hooks'] = [dict(h) for h in kept]
    found.update({key: None for key in ('load_from',) if cfg.get(key, None) is not None})
    if cfg.get('resume', False):
        found['resume'] = False
    return found


def config_text(base: str, overrides: Mapping[str, Any], comment: Sequence[str]) -> str:
    """Text of a config file over the one at ``base``, with lists on as few lines as fit."""
    head = ''.join(f'# {line}'.rstrip() + '\n' for line in comment)
    body = ''.join(f'{key} = {_code(value, len(key) + 3)}\n' for key, value in overrides.items())
    return f'{head}_base_ = {base!r}\n\n{body}'


def _code(value: Any, column: float, indent: int = 0) -> str:
    """A value as Python, broken into lines where it would pass the hundredth column."""
    if isinstance(value, Mapping) and all(str(key).isidentifier() for key in value):
        parts = [(f'{key}=', item) for key, item in value.items()]
        left, right = 'dict(', ')'
    elif isinstance(value, Mapping):
        parts = [(f'{key!r}: ', item) for key, item in value.items()]
        left, right = '{', '}'
    elif isinstance(value, (list, tuple)):
        parts = [('', item) for item in value]
        left, right = '[', ']'
    else:
        return repr(value)
    flat = left + ', '.join(key + _code(item, -math.inf) for key, item in parts) + right
    if column + len(flat) < 100:
        return flat
    margin = indent + 4
    lines = [f'{" " * margin}{k}{_code(item, margin + len(k), margin)},\n' for k, item in parts]
    return f'{left}\n{"".join(lines)}{" " * indent}{right}'
