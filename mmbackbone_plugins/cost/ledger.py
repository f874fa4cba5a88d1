"""What each phase of a run has cost, in one object that survives restarts.

It keeps what was measured; totals are worked out when they are asked for. What a restart has to do
again is listed apart from what the run needed.
"""

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional

from ..utils.files import atomic_write
from .flops import StepFlops
from .naming import FULL
from .weighing import Counted, weigh

VERSION = 1
FILE_NAME = 'cost.json'


@dataclass
class PhaseCost:
    """What one phase has cost so far: all steps in which the same parameters trained."""

    name: str  # what trains, see :func:`~mmbackbone_plugins.cost.naming.phase_name`
    stages: list[str] = field(default_factory=list)  # of the target, that train
    trainable_parameters: int = 0  # number of parameters that train
    steps: int = 0  # iterations of the training loop
    batches: dict[str, int] = field(default_factory=dict)  # by shape, over all ranks
    counted: dict[str, Counted] = field(default_factory=dict)  # FLOPs of batches, by shape
    step_seconds: float = 0.0  # wall-clock, from the batches being there to the steps' end
    data_seconds: float = 0.0  # of waiting for batches, and of what other hooks do in between
    peak_memory: Optional[int] = None  # bytes; None where it cannot be measured
    communicated_bytes: int = 0  # gradients that one rank has handed to the all-reduce

    @property
    def flops(self) -> Optional[int]:
        """FLOPs of all steps and ranks; None where nothing was counted."""
        return weigh(self.batches, self.counted)

    @property
    def forward_flops(self) -> Optional[int]:
        """The part of the forward passes."""
        return weigh(self.batches, self.counted, 'forward')

    @property
    def step_flops(self) -> Optional[int]:
        """FLOPs of a step, all ranks together, on average."""
        return None if self.flops is None or not self.steps else round(self.flops / self.steps)

    def saw_memory(self, peak: Optional[int]) -> None:
        if peak is not None:
            self.peak_memory = max(peak, self.peak_memory or 0)


@dataclass
class Lost:
    """What was paid for steps that a restart did again."""

    steps: int = 0
    flops: int = 0
    seconds: float = 0.0
    communicated_bytes: int = 0


@dataclass
class Ledger:
    """What a run has cost so far."""

    run: str = field(default_factory=lambda: uuid.uuid4().hex)  # the same in all its parts
    parameters: int = 0  # number of parameters of the model
    phases: dict[str, PhaseCost] = field(default_factory=dict)
    # By shape, of full fine-tuning where no phase of the run is that.
    full: dict[str, Counted] = field(default_factory=dict)
    iteration: int = 0  # iterations that the run has done, those before the first record included
    unrecorded_steps: int = 0  # those before the first record: the hook joined a run underway
    uncounted_ops: dict[str, int] = field(default_factory=dict)  # calls in a step, no formula
    lost: Lost = field(default_factory=Lost)  # what restarts have lost; not in the totals
    validation_seconds: float = 0.0
    measuring_flops: int = 0  # of passes between the steps, from which a hook decides something
    features_read_bytes: int = 0  # of a cache, in place of a frozen backbone's forward passes
    counting_seconds: float = 0.0  # of a step of full fine-tuning, apart from training
    # One entry per start: its first iteration, number of ranks, device, torch.
    parts: list[dict[str, Any]] = field(default_factory=list)
    memory_kind: Optional[str] = None  # what ``peak_memory`` is of
    notes: list[str] = field(default_factory=list)  # what a reader must know

    def phase(self, name: str, stages: list[str], trainable_parameters: int) -> PhaseCost:
        """The phase of that name, made if need be; one of other parameters is ``name (2)``."""
        number, key = 1, name
        while key in self.phases and self.phases[key].trainable_parameters != trainable_parameters:
            number += 1
            key = f'{name} ({number})'
        return self.phases.setdefault(key, PhaseCost(key, list(stages), trainable_parameters))

    def saw_operators(self, step: StepFlops) -> None:
        """Notes operators without a formula: the most calls that any counted step had."""
        self.uncounted_ops = dict(Counter(self.uncounted_ops) | Counter(step.uncounted))

    def lose(self, later: 'Ledger') -> None:
        """Books what a later state of this run had more than this one, which the run resumes."""
        self.lost = later.lost
        self.validation_seconds = max(self.validation_seconds, later.validation_seconds)
        self.counting_seconds = max(self.counting_seconds, later.counting_seconds)
        if later.iteration <= self.iteration:
            return
        ours, theirs = self.totals(), later.totals()

        def more(key: str) -> Any:
            return max(0, (theirs[key] or 0) - (ours[key] or 0))

        self.lost.steps += theirs['steps'] - ours['steps']
        self.lost.flops += more('training_flops')
        self.lost.seconds += more('step_seconds') + more('data_seconds')
        self.lost.communicated_bytes += more('communicated_bytes')

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases.values())

    @property
    def training_flops(self) -> Optional[int]:
        """FLOPs of all phases and ranks, and of measuring; None where a phase was not counted."""
        return _sum([self.measuring_flops, *(phase.flops for phase in self.phases.values())])

    @property
    def full_training_flops(self) -> Optional[int]:
        """FLOPs of full fine-tuning on the same batches; None where it was not counted."""
        whole = self.phases[FULL].counted if FULL in self.phases else {}
        counted = {**self.full, **whole}
        return _sum(weigh(phase.batches, counted) for phase in self.phases.values())

    @property
    def saving(self) -> Optional[float]:
        """Share of the FLOPs of full fine-tuning that was saved, from 0 to 1."""
        ours, full = self.training_flops, self.full_training_flops
        return None if ours is None or not full else 1 - ours / full

    def totals(self) -> dict[str, Any]:
        """Sums over the phases; the peak of memory over all of them."""
        phases = list(self.phases.values())
        peaks = [p.peak_memory for p in phases if p.peak_memory is not None]
        return dict(
            steps=self.steps,
            training_flops=self.training_flops,
            full_training_flops=self.full_training_flops,
            saving=self.saving,
            step_seconds=sum(p.step_seconds for p in phases),
            data_seconds=sum(p.data_seconds for p in phases),
            peak_memory=max(peaks, default=None),
            communicated_bytes=sum(p.communicated_bytes for p in phases),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts; phases and totals with what follows from them."""
        found = asdict(self)
        for name, phase in self.phases.items():
            found['phases'][name].update(
                flops=phase.flops, forward_flops=phase.forward_flops, step_flops=phase.step_flops
            )
        return dict(version=VERSION, totals=self.totals(), **found)

    @classmethod
    def from_dict(cls, data: Any) -> 'Ledger':
        """Reads what :meth:`to_dict` has made; a ValueError if it is anything else."""
        version = data.get('version') if isinstance(data, Mapping) else None
        if version != VERSION:
            raise ValueError(f'not a cost record of version {VERSION} (its version is {version!r})')
        try:
            known = _known(cls, data)
            known['phases'] = {
                name: PhaseCost(**dict(_known(PhaseCost, p), counted=_counted(p['counted'])))
                for name, p in data['phases'].items()
            }
            known['full'] = _counted(data['full'])
            known['lost'] = Lost(**data['lost'])
            ledger = cls(**known)
            ledger.totals()
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'not a cost record: {type(error).__name__}: {error}') from None
        return ledger

    def write(self, path: Path) -> None:
        """Writes the file at one go: a kill in between leaves the old one."""
        with atomic_write(path) as file:
            json.dump(self.to_dict(), file, indent=1)

    @classmethod
    def read(cls, path: Path) -> 'Ledger':
        """Reads a file, or that of a work dir.

        A FileNotFoundError if there is none, a ValueError if it is not a cost record.
        """
        path = Path(path)
        file = path / FILE_NAME if path.is_dir() else path
        if not file.is_file():
            where = 'has no cost record' if path.is_dir() else 'does not exist'
            raise FileNotFoundError(
                f"{str(path)!r} {where} ({FILE_NAME}); train with dict(type='TrainingCostHook') in "
                'custom_hooks to get one'
            )
        try:
            return cls.from_dict(json.loads(file.read_text(encoding='utf-8')))
        except ValueError as error:
            raise ValueError(f'{str(file)!r} cannot be read: {error}') from None


def _sum(values) -> Optional[int]:
    values = list(values)
    return None if any(v is None for v in values) else sum(values)


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a class that are in a record; derived and newer ones are left out."""
    return {f.name: data[f.name] for f in fields(kind) if f.name in data}


def _counted(data: Mapping[str, Any]) -> dict[str, Counted]:
    return {shape: Counted(**value) for shape, value in data.items()}
