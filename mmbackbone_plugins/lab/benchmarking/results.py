"""What one run of a benchmark came to: ``result.json``, written once, read by reports."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional, Union

from ...utils.files import atomic_write

VERSION = 1
FILE = 'result.json'
SCORES = ('mAP', 'AP50', 'AP75')


@dataclass
class Result:
    """One run: which it was, how it ended, and every number that a report shows.

    Attributes:
        dataset: Name of the data set in the plan.
        detector: Name of the detector in the plan.
        method: Name of the method in the plan.
        seed: Seed of weights and order of images.
        state: ``'finished'`` or ``'failed'``.
        error: The last lines of a failed run; None of a finished one.
        config: The config file that the run came from.
        options: What the plan changed in it, by dotted key.
        command: The command that makes this run again.
        work_dir: The run's folder.
        checkpoint: The tested checkpoint, relative to ``work_dir``.
        finished: When, in ISO format.
        scores: By test set: ``mAP``, ``AP50``, ``AP75`` as fractions, ``classes`` with the same by
            class, numbers of ``images`` and ``boxes``.
        in_domain: Test sets of the domain that was trained on; all others are out of it, but for
        validation: those on which settings are chosen.
        cost: ``flops`` of the whole training, ``full_flops`` (the same with everything trained),
            ``seconds`` in training steps, ``peak_memory`` in bytes, ``trainable_share`` of the
            parameters, ``communicated_bytes``; None where it was not measured.
        rgn: ``first`` and ``mean`` relative gradient norm of the backbone, and by ``stages``.
        drift: ``mean`` distance to the first weights, relative to their norm, and by ``stages``.
        machine: Versions and hardware.
    """

    dataset: str
    detector: str
    method: str
    seed: int
    state: str
    error: Optional[str] = None
    config: str = ''
    options: dict[str, Any] = field(default_factory=dict)
    command: str = ''
    work_dir: str = ''
    checkpoint: Optional[str] = None
    finished: Optional[str] = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_domain: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    rgn: Optional[dict[str, Any]] = None
    drift: Optional[dict[str, Any]] = None
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name, which is also its folder's: ``dataset/detector/method/seed0``."""
        return f'{self.dataset}/{self.detector}/{self.method}/seed{self.seed}'

    def save(self, folder: Union[str, Path]) -> None:
        """Writes ``result.json`` into a run's folder, whole or not at all."""
        with atomic_write(Path(folder) / FILE) as file:
            file.write(json.dumps({'version': VERSION, **asdict(self)}, indent=1) + '\n')


def read_result(path: Union[str, Path]) -> Result:
    """Reads one ``result.json``; ValueError if it is torn, or of another version."""
    try:
        data = json.loads(Path(path).read_text(encoding='utf-8'))
        version = data.pop('version', None) if isinstance(data, Mapping) else None
    except ValueError as error:
        raise ValueError(f'{path} cannot be read ({error}): move it away, and run again') from None
    known = {item.name for item in fields(Result)}
    if version != VERSION or not known >= set(data):
        raise ValueError(
            f'{path} is of version {version!r} of this benchmark, this one writes and reads '
            f'{VERSION}: report it with the package that wrote it, or give another work dir'
        )
    return Result(**data)


def load_results(work_dir: Union[str, Path]) -> list[Result]:
    """Reads what a benchmark has finished so far, failed runs included, in order of their names.

    Args:
        work_dir: Folder of the benchmark.

    Raises:
        ValueError: See :func:`read_result`.
    """
    results = [read_result(path) for path in sorted(Path(work_dir).glob(f'runs/*/*/*/*/{FILE}'))]
    return sorted(results, key=lambda r: (r.dataset, r.detector, r.method, r.seed))
