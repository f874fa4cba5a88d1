"""From ratios of tensors to a table: layers, stages, the network; what is frozen, what explodes."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

from torch import nn

from ..stages import StageMap
from ..utils.text import table
from .rgn import Measurement

# Ratios explode on tensors that are almost zero (fresh biases, layer scale). Weights of pre-trained
# networks have a root mean square between 0.005 and 1; a tensor this far below is flagged.
NEAR_ZERO = 1e-4

KINDS = ('weight', 'norm', 'bias')


def kind_of(name: str, parameter: nn.Parameter) -> str:
    """Which kind of parameter one is; ratios of different kinds are decades apart.

    ``'bias'`` by its name (many start at zero); ``'weight'``: of convolutions and linear layers,
    two dimensions or more; ``'norm'``: a factor per channel, of norm layers and layer scales.
    """
    leaf = name.rpartition('.')[2]
    if 'bias' in leaf:  # also in_proj_bias, relative_position_bias_table
        return 'bias'
    # A layer scale may have the shape (C, 1, 1); a weight to one channel is one all the same.
    dimensions = parameter.dim() if leaf == 'weight' else parameter.squeeze().dim()
    return 'weight' if dimensions > 1 else 'norm'


def kinds_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, str]:
    """The kind of every parameter, see :func:`kind_of`."""
    return {name: kind_of(name, parameter) for name, parameter in parameters.items()}


@dataclass(frozen=True)
class Aggregate:
    """RGN of several tensors."""

    mean: float  # unweighted, as in the paper's code
    weighted: float  # mean weighted by the number of entries of each tensor
    median: float  # which single exploding ratios do not move
    tensors: int  # number of those with a gradient
    entries: int  # number of their entries


def aggregate(values: Mapping[str, float], numels: Mapping[str, int]) -> Optional[Aggregate]:
    """Aggregates of tensors; None without any. All are NaN, or Inf, if one of them is."""
    if not values:
        return None
    ratios = list(values.values())
    entries = [numels[name] for name in values]
    broken = [r for r in ratios if not math.isfinite(r)]
    if broken:
        worst = math.nan if any(map(math.isnan, broken)) else math.inf
        return Aggregate(worst, worst, worst, len(ratios), sum(entries))
    weighted = math.fsum(r * n for r, n in zip(ratios, entries)) / sum(entries)
    mean, median = statistics.fmean(ratios), statistics.median(ratios)
    return Aggregate(mean, weighted, median, len(ratios), sum(entries))


@dataclass(frozen=True)
class RGNTable:
    """The RGN of a part of a model, in full."""

    # Over all tensors but those of added blocks, as the authors do: SE blocks and adapters start
    # near zero, and a ratio to nothing would drown the rest. None when none has a gradient.
    network: Optional[Aggregate]
    stages: dict[str, Optional[Aggregate]]  # from input to output; None without a gradient
    layers: dict[str, Aggregate]  # by the module that holds the tensors
    tensors: dict[str, float]  # by parameter
    frozen: tuple[str, ...]  # stages in which no parameter requires a gradient
    without_gradient: tuple[str, ...]  # stages that could train, but no gradient has reached them
    near_zero: tuple[str, ...]  # tensors below ``NEAR_ZERO``: mistrust their ratios
    nonfinite: tuple[str, ...]  # tensors whose RGN is NaN or Inf
    # Median over the weights of convolutions and linear layers, by stage and over the 'network':
    # no bias that starts at zero moves it.
    weights: dict[str, float]
    kinds: dict[str, str]  # of every tensor, see :func:`kind_of`
    places: dict[str, str]  # stage of every tensor

    @classmethod
    def of(
        cls,
        measurement: Measurement,
        stage_map: StageMap,
        frozen: Iterable[str] = (),
        kinds: Mapping[str, str] = {},  # noqa: B006
    ) -> 'RGNTable':
        """Sorts a measurement into stages and layers; the median over weights needs ``kinds``."""
        numels, frozen = measurement.numels, set(frozen)
        # In the order of the network, which that of the optimizers need not be.
        values = {n: measurement.values[n] for n in stage_map.parameters if n in measurement.values}

        def over(names: Iterable[str]) -> Optional[Aggregate]:
            return aggregate({name: values[name] for name in names if name in values}, numels)

        places = {name: stage_map.stage_of(name) for name in values}
        stages = {stage.name: over(stage.parameters) for stage in stage_map}
        sleeping = [name for name, found in stages.items() if found is None]
        layers: dict[str, list[str]] = {}
        for name in values:
            layers.setdefault(name.rpartition('.')[0], []).append(name)
        own = {name for name in values if not stage_map[places[name]].is_block}
        heavy = [name for name in values if kinds.get(name) == 'weight']
        parts = {stage: [n for n in heavy if places[n] == stage] for stage in stages}
        parts['network'] = [n for n in heavy if n in own]
        return cls(
            network=over(own),
            stages=stages,
            layers={name: found for name, inside in layers.items() if (found := over(inside))},
            tensors=values,
            frozen=tuple(n for n in sleeping if n in frozen),
            without_gradient=tuple(n for n in sleeping if n not in frozen),
            near_zero=tuple(n for n in values if measurement.rms[n] < NEAR_ZERO),
            nonfinite=tuple(n for n, v in values.items() if not math.isfinite(v)),
            weights={part: found.median for part, n in parts.items() if (found := over(n))},
            kinds={n: kinds[n] for n in values if n in kinds},
            places=places,
        )

    def broken_stages(self, stage_map: StageMap) -> tuple[str, ...]:
        """Stages with a tensor whose RGN is NaN or Inf."""
        broken = {stage_map.stage_of(name) for name in self.nonfinite}
        return tuple(name for name in self.stages if name in broken)

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON holds it; a frozen stage is the word ``'frozen'``."""
        words = dict.fromkeys(self.frozen, 'frozen')
        words.update(dict.fromkeys(self.without_gradient, 'no gradient'))
        totals = asdict(self.network) if self.network else {}
        return dict(
            **{key: totals.get(key) for key in ('mean', 'weighted', 'median')},
            weights=self.weights,
            stages={n: words[n] if a is None else asdict(a) for n, a in self.stages.items()},
            layers={name: a.mean for name, a in self.layers.items()},
            tensors=self.tensors,
            near_zero=list(self.near_zero),
            nonfinite=list(self.nonfinite),
        )

    def text(self) -> str:
        """The stages as a text table, with a note on tensors to mistrust."""
        head = ('stage', 'mean', 'weighted', 'median', 'of weights', 'tensors')
        everything = {**self.stages, 'network': self.network}
        lines = [table([head, *(self._row(name, found) for name, found in everything.items())])]
        if self.near_zero:
            first = ', '.join(self.near_zero[:3]) + (', ...' if len(self.near_zero) > 3 else '')
            lines.append(
                f'{len(self.near_zero)} tensors are almost zero (root mean square below '
                f'{NEAR_ZERO:g}), their ratios explode and lift the mean: {first}'
            )
        if self.nonfinite:
            lines.append(f'NaN or Inf in: {", ".join(self.nonfinite[:3])}')
        return '\n'.join(lines)

    def _row(self, name: str, found: Optional[Aggregate]) -> tuple[str, ...]:
        if found is None:
            return name, 'frozen' if name in self.frozen else 'no gradient', '', '', '', ''
        numbers = (found.mean, found.weighted, found.median, self.weights.get(name))
        cells = ['-' if number is None else f'{number:.3e}' for number in numbers]
        return (name, *cells, str(found.tensors))


def frozen_stages(stage_map: StageMap, parameters: Mapping[str, nn.Parameter]) -> tuple[str, ...]:
    """Stages in which no parameter requires a gradient now."""
    return tuple(
        s.name for s in stage_map if not any(parameters[n].requires_grad for n in s.parameters)
    )
