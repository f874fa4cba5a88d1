"""Learning rates from relative gradient norms: who is pulled most trains most, or least."""

from collections.abc import Mapping
from statistics import fmean

from torch import nn

from ..freezing.freezer import is_norm
from ..stages import StageMap

BY = ('stage', 'tensor')


def rate_factors(rgn: Mapping[str, float], sign: int = 1, floor: float = 0.0) -> dict[str, float]:
    """Factors of learning rates.

    With w the RGN of a stage or tensor: ``w / max w`` (``sign=+1``) or ``min w / w`` (``sign=-1``),
    and at least ``floor``. What has no gradient at all (w = 0) does not count for the minimum, and
    has the factor 1 with ``sign=-1``: it does not move anyway (our reading).

    Args:
        rgn: RGN by name, finite and at least 0.
        sign: ``+1``: the most pulled trains most. ``-1``: least.
        floor: The least factor, from 0 to 1.

    Returns:
        Factors from 0 to 1 by name.

    Source:
        ``sign=+1``: Auto-RGN of "Surgical Fine-Tuning", ICLR 2023 (code:
        anniesch/surgical-finetuning, ``main.py``). ``sign=-1``, after arXiv 2303.14744, which holds
        most what is pulled most, and ``floor``: ours.

    Examples:
        >>> from mmbackbone_plugins.distortion.learning_rates import rate_factors
        >>> rate_factors(dict(stage1=0.5, stage2=2.0)), rate_factors(dict(a=0.5, b=2.0), -1)
        ({'stage1': 0.25, 'stage2': 1.0}, {'a': 1.0, 'b': 0.25})
    """
    pulled = [w for w in rgn.values() if w > 0]
    if not pulled:
        return dict.fromkeys(rgn, 1.0)
    most, least = max(pulled), min(pulled)
    found = {name: w / most if sign > 0 else least / w if w else 1.0 for name, w in rgn.items()}
    return {name: max(factor, floor) for name, factor in found.items()}


def units_of(model: nn.Module, stage_map: StageMap, by: str) -> dict[str, str]:
    """What shares one learning rate: the unit of every parameter of the target, by its name.

    By ``'stage'`` units are stages, norms included; by ``'tensor'`` parameters without norms. Added
    blocks have none: they start near zero, and their RGN would drown the rest (our reading).
    """
    own = {n: s.name for s in stage_map if not s.is_block for n in s.parameters}
    if by == 'stage':
        return own
    return {name: name for name in own if name not in norm_parameters(model)}


def unit_rgn(
    values: Mapping[str, float], units: Mapping[str, str], norms: frozenset[str] = frozenset()
) -> dict[str, float]:
    """RGN of every unit that has one: the mean over its tensors but ``norms``, all by name."""
    inside: dict[str, list[float]] = {}
    for name, unit in units.items():
        if name in values and name not in norms:
            inside.setdefault(unit, []).append(values[name])
    return {unit: fmean(found) for unit, found in inside.items()}


def norm_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters of norm layers."""
    norms = {id(p) for m in model.modules() if is_norm(m) for p in m.parameters(recurse=False)}
    return frozenset(name for name, p in model.named_parameters() if id(p) in norms)
