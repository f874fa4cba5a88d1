"""How far a network has moved: weights, statistics of norm layers, features."""

import math
from collections.abc import Iterable, Mapping
from typing import Union

import numpy as np
import torch
from torch import nn

from .norms import l2_norms, wide

Features = Union[torch.Tensor, np.ndarray]


@torch.no_grad()
def weight_drift(
    parameters: Mapping[str, torch.Tensor],
    anchor: Mapping[str, torch.Tensor],
    groups: Mapping[str, Iterable[str]],
) -> dict[str, float]:
    """``||theta - theta0||_2 / ||theta0||_2`` of groups of tensors, each taken as one vector.

    By group of names, such as a stage, dimensionless. A reference of zeros gives 0 if nothing has
    moved, else Inf. Holds the difference of one tensor at a time, and waits for the device once.
    A ValueError if a tensor has no reference, or one of another shape.
    """
    groups = {group: list(names) for group, names in groups.items()}
    wanted = [name for names in groups.values() for name in names]
    _check_references(parameters, anchor, wanted)
    rows = []
    for name in wanted:
        now = torch.as_tensor(parameters[name]).detach()
        now = now.to(wide(now.dtype))
        reference = torch.as_tensor(anchor[name]).to(now.device)
        rows.append(torch.stack(l2_norms([now - reference, reference])))
    rows = torch.stack([r.to(rows[0].device) for r in rows]).tolist() if rows else []
    numbers = dict(zip(wanted, rows))
    drift = {}
    for group, names in groups.items():
        moved, size = (math.hypot(*(numbers[n][i] for n in names)) for i in (0, 1))
        drift[group] = moved / size if size else (float('inf') if moved else 0.0)
    return drift


def _check_references(
    tensors: Mapping[str, torch.Tensor], anchor: Mapping[str, torch.Tensor], names: Iterable[str]
) -> None:
    missing = [name for name in names if name not in anchor or name not in tensors]
    if missing:
        raise ValueError(
            f'{len(missing)} tensors have no reference to drift from: {", ".join(missing[:3])}'
        )
    for name in names:
        shapes = tuple(tensors[name].shape), tuple(anchor[name].shape)
        if shapes[0] != shapes[1]:
            raise ValueError(f'{name!r} has shape {shapes[0]}, its reference {shapes[1]}')


def norm_buffers(model: nn.Module, modules: Iterable[str]) -> list[str]:
    """Names of the running means of the norm layers among some modules that keep statistics."""
    buffers = dict(model.named_buffers(remove_duplicate=False))
    return [mean for name in modules if (mean := f'{name}.running_mean') in buffers]


@torch.no_grad()
def statistics_drift(
    buffers: Mapping[str, torch.Tensor], anchor: Mapping[str, torch.Tensor], means: Iterable[str]
) -> tuple[float, float]:
    """Drift of running statistics of norm layers, over all their channels, by names of the means.

    Root mean square over channels of the shift of the mean, in units of the channel's initial
    standard deviation; and of the logarithm of the ratio of the standard deviations. Both 0
    where nothing moved. Our definition: the paper has none.
    """
    shifts, spreads = [], []
    for name in means:
        variance = name[: -len('running_mean')] + 'running_var'
        _check_references(buffers, anchor, [name, variance])
        mean, mean0 = buffers[name].double(), anchor[name].to(buffers[name].device).double()
        var, var0 = buffers[variance].double(), anchor[variance].to(mean.device).double()
        shifts.append((mean - mean0) / (var0 + 1e-5).sqrt())
        spreads.append(0.5 * ((var + 1e-5) / (var0 + 1e-5)).log())
    if not sum(len(shift) for shift in shifts):
        return 0.0, 0.0
    both = torch.stack([torch.cat(shifts), torch.cat(spreads)])
    shift, spread = both.square().mean(dim=1).sqrt().tolist()
    return shift, spread


@torch.no_grad()
def linear_cka(x: Features, y: Features) -> float:
    """Linear centred kernel alignment of two sets of features of the same examples, in float64.

    ``||Yc^T Xc||_F^2 / (||Xc^T Xc||_F ||Yc^T Yc||_F)`` with columns centred; features are of shape
    ``(examples, channels)``. 1 for features equal up to rotation and scale, near 0 for unrelated
    ones; NaN if one of the sets is constant, or has a NaN or Inf. Source: Kornblith et al.,
    "Similarity of Neural Network Representations Revisited", 2019, section 3.
    """
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise ValueError(
            f'x and y must be (examples, channels) of the same examples, got {tuple(x.shape)} and '
            f'{tuple(y.shape)}'
        )
    if x.is_complex() or y.is_complex():
        raise ValueError(f'x and y must be real, got {x.dtype} and {y.dtype}')
    if not x.numel() or not y.numel():
        return math.nan
    x, y = _centred(x), _centred(y)
    if len(x) < max(x.shape[1], y.shape[1]):  # the same number from examples x examples matrices
        k, m = x @ x.T, y @ y.T
        cross, own = (k * m).sum(), (k * k).sum().sqrt() * (m * m).sum().sqrt()
    else:
        cross = (y.T @ x).square().sum()
        own = (x.T @ x).square().sum().sqrt() * (y.T @ y).square().sum().sqrt()
    return min((cross / own).item(), 1.0)


def _centred(features: torch.Tensor) -> torch.Tensor:
    """Features about their mean, at most 1: fourth powers follow. NaN if they are constant."""
    features = features.double()
    features = features - features[:1]  # so that what is constant becomes 0 and not rounding
    features = features - features.mean(0)
    return features / features.abs().max()


def pooled(feature: torch.Tensor, positions: int = 8) -> torch.Tensor:
    """The examples of a feature map: its positions, pooled to a grid.

    ``(N, C, H, W)`` becomes ``(N * rows * columns, C)``, of ``positions`` rows and columns at most.
    A classifier's ``(N, C)`` is one example an image.
    """
    if feature.dim() == 2:
        return feature
    grid = (min(positions, feature.shape[2]), min(positions, feature.shape[3]))
    feature = nn.functional.adaptive_avg_pool2d(feature, grid)
    return feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])
