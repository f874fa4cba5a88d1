"""Figures of what runs have left in their folders: curves, eigenspectra, detections."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
import numpy as np

from ....spectra.files import Spectra
from ...visualization import (
    Boxes,
    RunLog,
    class_colors,
    draw_class_legend,
    draw_on_image,
    plot_seeds,
    plot_spectra,
    read_dynamics,
    read_run,
)
from ..results import Result
from .blocks import Figure
from .figure_writer import FigureWriter
from .groups import Group

DRAWN_ABOVE = 0.3  # score from which a detection is drawn
MOST_SPECTRA = 6  # layers
START = 'before training'


def _left(read: Callable[[Path], Any], path: Path) -> Any:
    """What a run has left in a file or folder; None where that is not there or torn."""
    try:
        return read(path)
    except (OSError, ValueError):
        return None


def _top(values: Iterable[float], room: float) -> Optional[float]:
    return room * max((v for v in values if math.isfinite(v)), default=1) or None


def curves(writer: FigureWriter, group: Group) -> Figure:
    """Training curves, a picture per method."""
    figure = Figure(
        'Training curves',
        'A line per seed. Grey: epochs in which the backbone was frozen. All pictures have '
        'the same axes.',
    )
    logs: dict[str, dict[str, RunLog]] = {}
    without = []
    for result in group.results:
        log = _left(read_run, writer.run_folder(result) / 'train')
        if log and (log.train or log.val):
            logs.setdefault(result.method, {})[f'seed {result.seed}'] = log
        else:
            without.append(f'{result.method}/seed{result.seed}')
    if without:
        figure.caption += f' Without a log, and not drawn: {", ".join(without)}.'
    every = [log for runs in logs.values() for log in runs.values()]
    tops = (
        _top((row['loss'] for log in every for row in log.train), 1.05),
        _top((row[log.metric] for log in every for row in log.val if log.metric in row), 1.08),
    )
    for name, runs in logs.items():
        alt = f'Training loss and validation mAP of {name} over training, {len(runs)} seeds.'
        look = (runs, name, writer.styles[name].color, *tops)
        figure.pictures.append(writer.draw(group, ('curves', name), alt, plot_seeds, *look))
    return figure


def spectra(writer: FigureWriter, group: Group) -> Figure:
    """Eigenspectra before and after training, a picture per layer."""
    figure = Figure(
        'Eigenspectra of the features before and after training',
        'Eigenvalues of the second moments of the features, largest first; of every method the '
        'first seed that has them. Black dots: before training. The dashed grey line is the '
        'threshold of the intrinsic dimensionality.',
    )
    found: dict[str, list[Spectra]] = {}
    for result in group.results:
        if result.method not in found:
            measured = _left(read_dynamics, writer.run_folder(result) / 'train')
            found.update({result.method: measured} if measured else {})
    without = [m.name for m in group.methods.values() if m.finished and m.name not in found]
    if without:
        figure.caption += f' Without spectra, and not drawn: {", ".join(without)}.'
    starts = {
        name: measured[0]
        for name, measured in found.items()
        if measured[0].info.get('epoch') == 0 and len(measured) > 1
    }
    start = next(iter(starts.values()), None)
    other = [name for name, one in starts.items() if not _same(start, one)]
    if other:
        figure.caption += (
            f' The start shown is that of {next(iter(starts))}; other features at the start have: '
            f'{", ".join(other)}.'
        )
    runs = {START: start} if start else {}
    runs.update({name: measured[-1] for name, measured in found.items()})
    looks: dict[str, dict[str, Any]] = {
        name: dict(color=style.color, ls=style.line, lw=1.4)
        for name, style in writer.styles.items()
    }
    looks[START] = dict(color='black', ls='', marker='.', ms=3, zorder=3)
    for layer in _layers(runs.values()):
        alt = f'Eigenvalues of {layer} before and after training, {len(found)} methods.'
        look = (runs, [layer], '', looks, (4.4, 4.2))
        figure.pictures.append(writer.draw(group, ('spectrum', layer), alt, plot_spectra, *look))
    return figure


def _layers(runs: Iterable[Spectra]) -> list[str]:
    """The first few layers of the backbone, of a stage with a block behind it without the block."""
    names = list(dict.fromkeys(name for run in runs for name in run.layers))
    blocks = {n for n in names if n.endswith('.block') and n.removesuffix('.block') in names}
    layers = [n for n in names if n.startswith('backbone.') and n not in blocks]
    return (layers or names)[:MOST_SPECTRA]


def _same(one: Spectra, two: Spectra) -> bool:
    """Whether two measurements of the start agree in the backbone's layers."""
    for name in (n for n in one.layers if n.startswith('backbone.')):
        if name not in two.layers:
            return False
        a, b = one.layers[name].eigenvalues, two.layers[name].eigenvalues
        if len(a) != len(b) or not np.allclose(a, b, rtol=1e-2, atol=1e-6 * max(a[0], 1e-30)):
            return False
    return True


def detections(writer: FigureWriter, group: Group) -> Figure:
    """Labels and detections: a row per test set, a column per method."""
    figure = Figure(
        'Detections',
        'Of each test set the first image that was kept: the one with the most labels. Detections '
        f'with a score of {DRAWN_ABOVE} or more, with their scores.',
    )
    records, seeds = {}, set()
    for run in _worth_showing(group):
        path = writer.run_folder(run) / 'detections.json'
        record = _left(lambda p: json.loads(p.read_text(encoding='utf-8')), path)
        if record and record.get('images'):
            records[run.method] = record
            seeds.add(run.seed)
    if not records:
        figure.caption = 'No pictures of detections: no finished run has kept any.'
        return figure
    figure.caption += (
        f' Methods: {", ".join(records)} (the baseline, what is frozen, and of the others the '
        f'highest means in and out of domain), seed {", ".join(map(str, sorted(seeds)))}.'
    )
    figure.columns = 1 + len(records)
    scenes, gone = _scenes(writer.work_dir, group.domains, records)
    if gone:
        figure.caption += f' Not there any more, and not drawn: {", ".join(gone)}.'
    drawn = [boxes for *_, boxes in scenes]
    classes = [str(name) for name in next(iter(records.values()))['classes']]
    colors = class_colors(drawn, len(classes))
    for domain, name, pixels, boxes in scenes:
        words, alt = ('boxes', domain, name), f'{domain}: {len(boxes.quads)} boxes, {name}'
        look = (draw_on_image, pixels, boxes, colors)
        picture = writer.draw(group, words, alt, *look, label=f'{domain}: {name}', suffix='.jpg')
        figure.pictures.append(picture)
    occurring = sorted({int(label) for boxes in drawn for label in boxes.labels})
    if occurring:
        names, own = [classes[i] for i in occurring], [colors[i] for i in occurring]
        alt = f'Colours of the classes {", ".join(names)}'
        figure.legend = writer.draw(group, ('boxes-classes',), alt, draw_class_legend, names, own)
    return figure


def _scenes(
    work_dir: Path, domains: Iterable[str], records: Mapping[str, Any]
) -> tuple[list[tuple[str, str, np.ndarray, Boxes]], list[str]]:
    """Pictures (test set, labels or method, pixels, boxes), and the image files that are gone."""
    scenes, gone = [], []
    first = next(iter(records.values()))
    for domain in domains:
        image = _image_of(first, domain)
        if image is None:
            continue
        path = image['path']
        file = Path(path) if Path(path).is_file() else work_dir / path  # relative to the start
        pixels = cv2.imread(str(file)) if file.is_file() else None
        if pixels is None:
            gone.append(path)
            continue
        pixels = pixels[..., ::-1]
        scenes.append((domain, 'labels', pixels, Boxes.of(image['truth'])))
        for name, record in records.items():
            own = _image_of(record, domain, path)
            if own is not None:
                scenes.append((domain, name, pixels, Boxes.of(own['found'], DRAWN_ABOVE)))
    return scenes, gone


def _image_of(record: Any, domain: str, path: Optional[str] = None) -> Optional[dict[str, Any]]:
    """What a run has found in the first image of a test set, or in that of a path."""
    images = (i for i in record['images'] if i['domain'] == domain)
    return next((i for i in images if path in (None, i['path'])), None)


def _worth_showing(group: Group) -> list[Result]:
    """Runs of the last seed in common: baseline, what is frozen, the best in and out of domain."""
    finished = [m for m in group.methods.values() if m.finished]
    picked = [m for m in finished if m.name in (group.baseline, 'frozen')]
    for key in group.scores:
        scored = [m for m in finished if m.mean(key) is not None and m.name != group.baseline]
        picked += sorted(scored, key=lambda m: -m.mean(key))[:1]
    methods = list({m.name: m for m in picked or finished[:1]}.values())
    common = set.intersection(*(set(m.finished) for m in methods)) if methods else set()
    return [m.finished[max(common) if common else next(iter(m.finished))] for m in methods]
