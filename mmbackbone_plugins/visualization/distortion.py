"""Pictures of RGN and drift: over depth, and along one or several runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from .backend import COLORS, pyplot
from .curves import TRAINABLE_STAGES, frozen_spans, read_scalars, shade_frozen, trainable_by_epoch

LINES = ('-', '--', ':', '-.')
LABELS = dict(
    rgn='relative gradient norm',
    drift='drift of weights',
    cka='linear CKA to the start',
    held='penalty over loss gradient',
    loss='training loss',
    metric='validation mAP',
)

RATIO = 'distortion/ratio'  # scalars of DistortionRegularizerHook


def plot_rgn_over_depth(
    path: Union[str, Path], runs: Mapping[str, Mapping[str, float]], title: str = ''
) -> None:
    """Draws RGN of every tensor over relative depth, a line per run, as the paper's figure.

    Args:
        path: Picture file to write.
        runs: By label, RGN by parameter from the input to the output.
        title: Title of the figure.

    Raises:
        ValueError: If no run has a tensor with a gradient.
        ImportError: If matplotlib is not installed.
    """
    if not any(runs.values()):
        raise ValueError('there is no RGN to draw: the target is frozen in every run')
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7.2, 4), layout='constrained')
    for i, (label, tensors) in enumerate(runs.items()):
        values = [v if math.isfinite(v) and v > 0 else math.nan for v in tensors.values()]
        depth = [k / max(len(values) - 1, 1) for k in range(len(values))]
        mean = sum(tensors.values()) / max(len(tensors), 1)
        style = LINES[i // len(COLORS) % len(LINES)]
        text = f'{label} (mean {mean:.2g})'
        axis.plot(depth, values, style, color=_color(i), lw=1.4, marker='.', ms=4, label=text)
    axis.set_yscale('log')  # ratios of almost-zero tensors are orders of magnitude above the rest
    axis.set_xlabel('relative depth of the parameter tensor')
    axis.set_ylabel(LABELS['rgn'])
    axis.grid(alpha=0.35, lw=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False, fontsize='small')
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)


@dataclass
class RunLog:
    """What a run has logged, all its starts together.

    Attributes:
        name: Name of its work dir.
        train: Rows of training scalars, in order.
        val: Rows of validation scalars, in order.
        rgn: Lines of ``rgn.jsonl``.
        drift: Lines of ``drift.jsonl``.
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
    if not found:
        return []
    lines = []
    for text in found[-1].read_text(encoding='utf-8').splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:  # torn by a kill
            continue
    return lines


def plot_runs(path: Union[str, Path], runs: Sequence[RunLog], title: str = '') -> list[str]:
    """Draws RGN, drift, similarity, penalty, loss and validation score of runs side by side.

    A column per run, a row per quantity; frozen epochs are grey. Rows that no run has are left out.

    Args:
        path: Picture file to write.
        runs: The runs, from :func:`read_run`.
        title: Title of the figure.

    Returns:
        The quantities that were drawn.

    Raises:
        ValueError: If there is nothing to draw.
        ImportError: If matplotlib is not installed.
    """
    curves = [_curves(run) for run in runs]
    rows = [key for key in LABELS if any(found.get(key) for found in curves)]
    if not rows:
        raise ValueError(f'nothing to draw: {[run.name for run in runs]} have logged no scalars')
    plt = pyplot()
    figure, axes = plt.subplots(
        len(rows),
        len(runs),
        sharex='col',
        sharey='row',
        squeeze=False,
        figsize=(1.6 + 5.4 * len(runs), 0.8 + 2.1 * len(rows)),
        layout='constrained',
    )
    colors: dict[str, str] = {}  # a stage has one colour in the whole picture
    for column, (run, found) in enumerate(zip(runs, curves)):
        spans = spans_of_frozen(run)
        for row, key in enumerate(rows):
            axis = axes[row][column]
            for name, points in found.get(key, {}).items():
                marker = '.' if len(points) < 60 else None
                # A block is dotted in the colour of its stage.
                is_block = name.endswith('.block') and name.removesuffix('.block') in found[key]
                stage, style = (name.removesuffix('.block'), ':') if is_block else (name, '-')
                color = colors.setdefault(stage, _color(len(colors)))
                axis.plot(*zip(*points), style, color=color, lw=1.5, marker=marker, label=name)
            shade_frozen(axis, spans, 'backbone frozen')
            if key == 'rgn' and found.get(key):
                axis.set_yscale('log')
            axis.grid(alpha=0.35, lw=0.6)
            axis.spines[['top', 'right']].set_visible(False)
            if column == 0:
                axis.set_ylabel(LABELS[key])
            if axis.get_legend_handles_labels()[0]:
                axis.legend(frameon=False, fontsize='x-small', ncols=2, handlelength=2.6)
        axes[0][column].set_title(run.name, fontsize='medium')
        axes[-1][column].set_xlabel('epochs trained' if run.per_epoch > 1 else 'iterations')
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return rows


def spans_of_frozen(run: RunLog) -> list[tuple[float, float]]:
    """Frozen spans as :func:`shade_frozen` takes them."""
    if run.per_epoch > 1:
        return frozen_spans(trainable_by_epoch(run.train))
    spans: list[tuple[float, float]] = []
    for before, row in zip([None, *run.train], run.train):
        if row.get(TRAINABLE_STAGES) != 0:
            continue
        # What the row of an iteration says holds since the row before.
        first = before['iter'] + 1 if before else row['iter']
        if spans and spans[-1][1] + 1 == first:
            first = spans.pop()[0]
        spans.append((first, row['iter']))
    return spans


def _curves(run: RunLog) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Points by quantity and name; a stage that is frozen has a gap."""
    length = run.per_epoch
    found: dict[str, dict[str, list[tuple[float, float]]]] = {key: {} for key in LABELS}

    def add(key: str, name: str, where: float, value: Any) -> None:
        found[key].setdefault(name, []).append((where, value))

    for line in run.rgn:
        for stage, number in line['stages'].items():
            value = number['mean'] if isinstance(number, dict) else math.nan
            add('rgn', stage, line['iter'] / length, value or math.nan)
        add('rgn', 'network', line['iter'] / length, line['mean'] or math.nan)
    # A stage that is frozen for the whole run is no curve.
    found['rgn'] = {
        n: points for n, points in found['rgn'].items() if any(v == v for _, v in points)
    }
    for line in run.drift:
        for stage, value in {**line['stages'], 'network': line['network']}.items():
            add('drift', stage, line['iter'] / length, value)
        for stage, value in line['cka'].items():
            add('cka', stage, line['iter'] / length, value)
    for row in run.train:
        add('loss', 'loss', row['iter'] / length, row['loss'])
        for key, value in row.items():
            if key.startswith(RATIO):
                stage = key[len(RATIO) :].lstrip('/') or 'network'
                add('held', stage, row['iter'] / length, value)
    for row in run.val:
        if run.metric in row:
            add('metric', run.metric, row['step'], row[run.metric])
    return found


def _color(i: int) -> str:
    return COLORS[(5 + 3 * i) % len(COLORS)]
