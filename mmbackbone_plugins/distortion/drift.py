"""How far a network has moved: weights, statistics of norm layers, features."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from .norms import l2_norms


@torch.no_grad()
def weight_drift(
    parameters: Mapping[str, torch.Tensor],
    anchor: Mapping[str, torch.Tensor],
    groups: Mapping[str, Iterable[str]],
) -> dict[str, float]:
    """``||theta - theta0||_2 / ||theta0||_2`` of groups of tensors, each taken as one vector.

    Holds the difference of one tensor at a time, and waits for the device once.

    Args:
        parameters: The tensors now, by name.
        anchor: Reference tensors by name, on any device.
        groups: Names of tensors by name of a group, such as a stage.

    Returns:
        Drift by group, dimensionless. A reference of zeros gives 0 if nothing has moved, else Inf.

    Raises:
        ValueError: If a tensor has no reference.
    """
    groups = {group: list(names) for group, names in groups.items()}
    wanted = [name for names in groups.values() for name in names]
    missing = [name for name in wanted if name not in anchor]
    if missing:
        raise ValueError(
            f'{len(missing)} tensors have no reference to drift from: {", ".join(missing[:3])}'
        )
    rows = []
    for name in wanted:
        now = parameters[name].detach()
        reference = anchor[name].to(now.device)
        rows.append(torch.stack(l2_norms([now - reference, reference])).double())
    numbers = dict(zip(wanted, torch.stack([r.to(rows[0].device) for r in rows]).tolist()))
    drift = {}
    for group, names in groups.items():
        moved = sum(numbers[n][0] ** 2 for n in names) ** 0.5
        size = sum(numbers[n][1] ** 2 for n in names) ** 0.5
        drift[group] = moved / size if size else (float('inf') if moved else 0.0)
    return drift


def norm_buffers(model: nn.Module, modules: Iterable[str]) -> list[str]:
    """Names of the running means of the norm layers among some modules that keep statistics.

    Args:
        model: The model.
        modules: Names of modules of it.
    """
    inside = dict(model.named_modules())
    return [
        f'{name}.running_mean'
        for name in modules
        if isinstance(getattr(inside[name], 'running_mean', None), torch.Tensor)
    ]


@torch.no_grad()
def statistics_drift(
    buffers: Mapping[str, torch.Tensor], anchor: Mapping[str, torch.Tensor], means: Iterable[str]
) -> tuple[float, float]:
    """Drift of running statistics of norm layers, over all their channels.

    Args:
        buffers: Buffers now, by name.
        anchor: Reference buffers by name.
        means: Names of running means; the variances are beside them.

    Returns:
        Root mean square over channels of the shift of the mean, in units of the channel's initial
        standard deviation; and of the logarithm of the ratio of the standard deviations. Both 0
        where nothing moved. Our definition: the paper has none.
    """
    shifts, spreads = [], []
    for name in means:
        variance = name[: -len('running_mean')] + 'running_var'
        mean, mean0 = buffers[name].double(), anchor[name].to(buffers[name].device).double()
        var, var0 = buffers[variance].double(), anchor[variance].to(mean.device).double()
        shifts.append((mean - mean0) / (var0 + 1e-5).sqrt())
        spreads.append(0.5 * ((var + 1e-5) / (var0 + 1e-5)).log())
    if not shifts:
        return 0.0, 0.0
    both = torch.stack([torch.cat(shifts), torch.cat(spreads)])
    shift, spread = both.square().mean(dim=1).sqrt().tolist()
    return shift, spread


@torch.no_grad()
def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """Linear centred kernel alignment of two sets of features of the same examples.

    ``||Yc^T Xc||_F^2 / (||Xc^T Xc||_F ||Yc^T Yc||_F)`` with columns centred: 1 for features equal
    up to rotation and scale, near 0 for unrelated ones. In float64.

    Args:
        x: Features, shape ``(examples, channels)``.
        y: Features, shape ``(examples, other channels)``.

    Returns:
        A number from 0 to 1; NaN if one of the sets is constant.

    Raises:
        ValueError: If the shapes do not fit.

    Source:
        Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, section 3.
    """
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y):
        raise ValueError(
            f'x and y must be (examples, channels) of the same examples, got {tuple(x.shape)} and '
            f'{tuple(y.shape)}'
        )
    x, y = x.double(), y.double()
    x, y = x - x.mean(0), y - y.mean(0)
    if len(x) < max(x.shape[1], y.shape[1]):  # the same number from examples x examples matrices
        k, m = x @ x.T, y @ y.T
        cross, own = (k * m).sum(), (k * k).sum().sqrt() * (m * m).sum().sqrt()
    else:
        cross = (y.T @ x).square().sum()
        own = (x.T @ x).square().sum().sqrt() * (y.T @ y).square().sum().sqrt()
    return (cross / own).item()


def pooled(feature: torch.Tensor, positions: int = 8) -> torch.Tensor:
    """The examples of a feature map: its positions, pooled to a grid.

    Args:
        feature: Shape ``(N, C, H, W)``.
        positions: Largest number of rows and columns of the grid.

    Returns:
        Shape ``(N * rows * columns, C)``.
    """
    grid = (min(positions, feature.shape[2]), min(positions, feature.shape[3]))
    feature = nn.functional.adaptive_avg_pool2d(feature, grid)
    return feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])
