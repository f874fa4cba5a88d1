"""RGN, drift, similarity, penalty, loss and score along one or several runs."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union

from .axes import labelled, mark_frozen, shade_frozen, tidy, top_of
from .backend import plain, pyplot, save
from .logs import RunLog, spans_of_frozen
from .methods import MethodStyle, style_of

LABELS = dict(
    rgn='relative gradient norm',
    drift='drift of weights',
    cka='linear CKA to the start',
    held='penalty / loss gradient',
    loss='training loss',
    metric='validation mAP',
)
RATIO = 'distortion/ratio'  # scalars of DistortionRegularizerHook
COLUMNS = 6  # more panels in a row are too small to read

Points = list[tuple[float, float]]
Curves = dict[str, dict[str, Points]]


class Panel(NamedTuple):
    """One quantity, of one run by stage, or of one stage by run."""

    key: str
    name: str
    lines: list[tuple[str, Points, MethodStyle]]


def plot_runs(path: Union[str, Path], runs: Sequence[RunLog], title: str = '') -> list[str]:
    """Draws what runs have logged, over each other.

    Of one run, a panel has a quantity and a line per stage; of several, a panel has a quantity of
    one stage and a line per run. Frozen epochs are grey; of several runs, bars in their colours.

    Raises:
        ValueError: If there is nothing to draw.
    """
    weights = all('weights' in line for run in runs for line in run.rgn)
    curves = [_curves(run, weights) for run in runs]
    drawn = [key for key in LABELS if any(found[key] for found in curves)]
    if not drawn:
        raise ValueError(f'nothing to draw: {[run.name for run in runs]} have logged no scalars')
    rows = list(_rows(drawn, runs, curves))
    columns = max(map(len, rows))
    figure = pyplot().figure(
        figsize=(max(7.2, 0.8 + 2.5 * columns), 1.2 + 2.1 * len(rows)), layout='constrained'
    )
    grid = figure.add_gridspec(len(rows), columns)
    shared: dict[str, Any] = {}  # one scale for all panels of a quantity
    for number, row in enumerate(rows):
        wide = columns // len(row)
        for place, panel in enumerate(row):
            axis = figure.add_subplot(
                grid[number, place * wide : (place + 1) * wide],
                sharex=next(iter(shared.values()), None),
                sharey=shared.get(panel.key),
            )
            shared.setdefault(panel.key, axis)
            _draw(axis, panel)
            if panel.key != (row[place - 1].key if place else None):
                axis.set_ylabel(LABELS[panel.key])
            else:
                axis.tick_params(labelleft=False)
            if number == len(rows) - 1:
                axis.set_xlabel('epochs trained' if runs[0].per_epoch > 1 else 'iterations')
            elif columns == 1:
                axis.tick_params(labelbottom=False)
            _mark_frozen(axis, panel.name, runs)
    first = next(iter(shared.values()))
    first.set_xlim(left=0)
    first.xaxis.get_major_locator().set_params(integer=True)
    for key, axis in shared.items():
        _scale(axis, key, [v for found in curves for pts in found[key].values() for _, v in pts])
    if 'rgn' in shared:
        what = 'median of weights' if weights else 'mean'
        shared['rgn'].set_ylabel(f'{LABELS["rgn"]}\n({what})')
    _legend(figure, runs)
    figure.suptitle(plain(title or (runs[0].name if len(runs) == 1 else '')))
    save(figure, path)
    return drawn


def _rows(
    drawn: Sequence[str], runs: Sequence[RunLog], curves: Sequence[Curves]
) -> Iterator[list[Panel]]:
    """Panels by row."""
    if len(runs) == 1:
        styles = _stage_styles(curves[0])
        for key in drawn:
            lines = [(name, points, styles[name]) for name, points in curves[0][key].items()]
            yield [Panel(key, '', lines)]
        return
    lone = []
    for key in drawn:
        names = list(dict.fromkeys(name for found in curves for name in found[key]))
        names.sort(key=lambda name: name != 'network')
        panels = []
        for name in names:
            lines = [
                (run.name, found[key][name], style_of(i))
                for i, (run, found) in enumerate(zip(runs, curves))
                if name in found[key]
            ]
            panels.append(Panel(key, '' if len(names) == 1 else name, lines))
        if len(panels) == 1:
            lone += panels
        else:
            yield from (panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS))
    if lone:
        yield lone


def _stage_styles(curves: Curves) -> dict[str, MethodStyle]:
    """A stage looks the same in all panels; a block is dotted in the colour of its stage."""
    names = dict.fromkeys(name for found in curves.values() for name in found)
    stage_of = {n: s if (s := n.removesuffix('.block')) in names else n for n in names}
    stages = list(dict.fromkeys(stage_of.values()))
    styles = {}
    for name, stage in stage_of.items():
        style = style_of(stages.index(stage))
        styles[name] = style._replace(line=':') if stage != name else style
    for name in ('network', 'loss', 'mAP'):
        styles[name] = MethodStyle('#000000', 'o', '-')
    return styles


def _draw(axis: Any, panel: Panel) -> None:
    for label, points, style in panel.lines:
        marker = style.marker if len(points) < 60 else None
        look = dict(color=style.color, lw=1.5, marker=marker, ms=3.5, label=plain(label))
        axis.plot(*zip(*points), style.line, **look)
    tidy(axis)


def _mark_frozen(axis: Any, title: str, runs: Sequence[RunLog]) -> None:
    spans = {i: found for i, found in enumerate(map(spans_of_frozen, runs)) if found}
    if len(runs) == 1:
        shade_frozen(axis, spans.get(0, []), 'backbone frozen')
    else:
        for row, (i, found) in enumerate(spans.items()):
            mark_frozen(axis, found, style_of(i).color, row)
    axis.set_title(plain(title), fontsize='medium', pad=5 + 4 * len(spans) * (len(runs) > 1))


def _scale(axis: Any, key: str, values: Sequence[float]) -> None:
    if key == 'rgn':
        axis.set_yscale('log')
    elif key == 'cka':  # 1 is "as at the start", and not a hair's breadth below it
        axis.set_ylim(min(0.9, *values, 1) - 0.02, 1.02)
    else:
        axis.set_ylim(0, top_of(values))


def _legend(figure: Any, runs: Sequence[RunLog]) -> None:
    found = labelled(figure.axes)
    for label in ('loss', 'mAP'):
        found.pop(label, None)
    if len(runs) > 1 and any(map(spans_of_frozen, runs)):
        from matplotlib.patches import Patch

        found['bars: backbone frozen'] = Patch(facecolor='0.5')
    if found:
        figure.legend(found.values(), found, loc='outside lower center', ncols=min(len(found), 4))


def _curves(run: RunLog, weights: bool = False) -> Curves:
    """Points by quantity and name; a stage that is frozen has a gap.

    RGN is the median of ``weights``, or the mean over all tensors as it was before that was logged.
    """
    length = run.per_epoch
    found: Curves = {key: {} for key in LABELS}

    def add(key: str, name: str, where: float, value: Any) -> None:
        found[key].setdefault(name, []).append((where, value))

    for line in run.rgn:
        for stage, number in line['stages'].items():
            value = number['mean'] if isinstance(number, dict) else math.nan
            value = line['weights'].get(stage, math.nan) if weights else value
            add('rgn', stage, line['iter'] / length, value or math.nan)
        value = line['weights'].get('network') if weights else line['mean']
        add('rgn', 'network', line['iter'] / length, value or math.nan)
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
            add('metric', 'mAP', row['step'], row[run.metric])
    return found
