"""What a run has logged, all its starts together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from ...hooks.jsonl import read_lines

TRAINABLE_STAGES = 'freezing/trainable_stages'


def read_scalars(path: Union[str, Path]) -> tuple[list[dict], list[dict]]:
    """What mmengine's LocalVisBackend wrote: rows of training, which have a loss, and the others.

    The 'step' of a validation is the number of epochs trained so far.
    """
    rows = read_lines(Path(path))
    return [row for row in rows if 'loss' in row], [row for row in rows if 'loss' not in row]


def trainable_by_epoch(train_rows: Iterable[Mapping]) -> dict[int, int]:
    """Returns the number of trainable stages by epoch, from 1, as FreezingSchedulerHook logs it.

    Epochs without that scalar are left out.
    """
    return {
        int(row['epoch']): int(row[TRAINABLE_STAGES])
        for row in train_rows
        if TRAINABLE_STAGES in row
    }


def frozen_spans(trainable: Mapping[int, int]) -> list[tuple[int, int]]:
    """First and last of each row of epochs without trainable stages."""
    return _joined((epoch, epoch) for epoch in sorted(trainable) if trainable[epoch] == 0)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those joined that follow each other."""
    found: list[tuple[int, int]] = []
    for first, last in spans:
        if found and found[-1][1] + 1 == first:
            first = found.pop()[0]
        found.append((first, last))
    return found


@dataclass
class RunLog:
    """What a run has logged, all its starts together.

    Its work dir's name, rows of training and validation in order, lines of ``rgn.jsonl`` and
    ``drift.jsonl``.
    """

    name: str
    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)
    rgn: list[dict] = field(default_factory=list)
    drift: list[dict] = field(default_factory=list)

    @property
    def per_epoch(self) -> float:
        """Iterations in an epoch, by where the run ended; 1 if it did not count epochs."""
        rows = [row for row in self.train if row.get('epoch')]
        last = max((int(row['epoch']) for row in rows), default=0)
        if last < 1 or len(rows) < len(self.train):
            return 1
        return max(row['iter'] for row in rows if int(row['epoch']) == last) / last

    @property
    def metric(self) -> Optional[str]:
        """The validation score: the first key that ends in mAP, else none."""
        return next((key for row in self.val for key in row if key.endswith('mAP')), None)


def read_run(work_dir: Union[str, Path]) -> RunLog:
    """Reads the logs of a work dir; rows that a resumed start logged again replace the first ones.

    Raises:
        FileNotFoundError: If there is no log of mmengine in it.
    """
    folder = Path(work_dir)
    starts = sorted(folder.glob('*/vis_data/scalars.json'))
    if not starts:
        raise FileNotFoundError(
            f'no log in {str(work_dir)!r}: <time of a start>/vis_data/scalars.json is missing'
        )
    train: dict[int, dict] = {}
    val: dict[int, dict] = {}
    since = starts[0]
    for path in starts:
        rows, scores = read_scalars(path)
        if rows and train and rows[0]['iter'] <= min(train):
            train, val, since = {}, {}, path  # begun afresh in the same folder
        if rows:  # what an interrupted start had logged after its checkpoint is done again
            train = {i: row for i, row in train.items() if i < rows[0]['iter']}
        train.update((row['iter'], row) for row in rows)
        val.update((row['step'], row) for row in scores if 'step' in row)
    first = since.parents[1].name
    return RunLog(
        folder.name or str(folder),
        [train[i] for i in sorted(train)],
        [val[i] for i in sorted(val)],
        _lines(folder, 'rgn.jsonl', first),
        _lines(folder, 'drift.jsonl', first),
    )


def _lines(folder: Path, name: str, since: str) -> list[dict]:
    """Lines of the newest such file of this run: it lies with the first start that wrote it."""
    found = [p for p in sorted(folder.glob(f'*/{name}')) if p.parent.name >= since]
    return read_lines(found[-1]) if found else []


def spans_of_frozen(run: RunLog) -> list[tuple[float, float]]:
    """Frozen spans as :func:`shade_frozen` takes them."""
    if run.per_epoch > 1:
        return frozen_spans(trainable_by_epoch(run.train))
    # What the row of an iteration says holds since the row before.
    pairs = zip([None, *run.train], run.train)
    return _joined(
        (before['iter'] + 1 if before else row['iter'], row['iter'])
        for before, row in pairs
        if row.get(TRAINABLE_STAGES) == 0
    )
