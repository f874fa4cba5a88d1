"""Figures of what runs have left in their folders: curves, eigenspectra, detections."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

from ...visualization import (
    Boxes,
    class_colors,
    draw_class_legend,
    draw_on_image,
    plot_seeds,
    plot_spectra,
    read_dynamics,
    read_run,
)
from ..results import Result
from .groups import Group, Method
from .sketchbook import Figure, Picture, Sketchbook, look

DRAWN_ABOVE = 0.3  # score from which a detection is drawn
MOST_SPECTRA = 6  # layers


def curves(book: Sketchbook, group: Group) -> Figure:
    """Training curves, a picture per method."""
    figure = Figure(
        'Training curves',
        'A line per seed. Grey: epochs in which the backbone was frozen. All pictures have '
        'the same axes.',
    )
    logs: dict[str, dict[str, Any]] = {}
    without = []
    for method in group.methods.values():
        for seed, result in method.finished.items():
            try:
                log = read_run(book.run_folder(result) / 'train')
            except (OSError, ValueError):
                log = None
            if log is None or not (log.train or log.val):
                without.append(f'{method.name}/seed{seed}')
            else:
                logs.setdefault(method.name, {})[f'seed {seed}'] = log
    if without:
        figure.caption += f' Without a log, and not drawn: {", ".join(without)}.'
    if not logs:
        return figure
    every = [log for runs in logs.values() for log in runs.values()]
    losses = [row['loss'] for log in every for row in log.train if math.isfinite(row['loss'])]
    scores = [row[log.metric] for log in every for row in log.val if log.metric in row]
    scores = [score for score in scores if math.isfinite(score)]
    for name, runs in logs.items():
        file = book.file(group.dataset, group.detector, 'curves', name)
        with look():
            plot_seeds(
                book.out / file,
                runs,
                name,
                book.styles[name].color,
                1.05 * max(losses, default=1) or None,
                1.08 * max(scores, default=1) or None,
            )
        alt = f'Training loss and validation mAP of {name} over training, {len(runs)} seeds.'
        figure.pictures.append(Picture(file, alt))
    return figure


def spectra(book: Sketchbook, group: Group) -> Figure:
    """Eigenspectra before and after training, a picture per layer."""
    figure = Figure(
        'Eigenspectra of the features before and after training',
        'Eigenvalues of the second moments of the features, largest first; of every method the '
        'first seed that has them. Black dots: before training. The dashed grey line is the '
        'threshold of the intrinsic dimensionality.',
    )
    after, before, used, other = {}, None, [], []
    for method in group.methods.values():
        for result in method.finished.values():
            try:
                found = read_dynamics(book.run_folder(result) / 'train')
            except (OSError, ValueError):
                continue
            if found[0].info.get('epoch') == 0 and len(found) > 1:
                if before is None:
                    before = found[0]
                elif not _same(before, found[0]):
                    other.append(method.name)
            after[method.name] = found[-1]
            used.append(result)
            break
    without = [m.name for m in group.methods.values() if m.finished and m.name not in after]
    if without:
        figure.caption += f' Without spectra, and not drawn: {", ".join(without)}.'
    if not after:
        return figure
    if other:
        figure.caption += (
            f' The start shown is that of {used[0].method}; other features at the start have: '
            f'{", ".join(other)}.'
        )
    runs = {} if before is None else {'before training': before}
    runs.update(after)
    names = dict.fromkeys(name for run in runs.values() for name in run.layers)
    blocks = {n for n in names if n.endswith('.block') and n.removesuffix('.block') in names}
    layers = [n for n in names if n.startswith('backbone.') and n not in blocks]
    looks = {
        name: dict(color=style.color, ls=style.line, lw=1.4) for name, style in book.styles.items()
    }
    looks['before training'] = dict(color='black', ls='', marker='.', ms=3, zorder=3)
    for layer in (layers or list(names))[:MOST_SPECTRA]:
        file = book.file(group.dataset, group.detector, 'spectrum', layer)
        with look():
            plot_spectra(book.out / file, runs, [layer], looks=looks, panel=(4.4, 4.2))
        alt = f'Eigenvalues of {layer} before and after training, {len(after)} methods.'
        figure.pictures.append(Picture(file, alt))
    return figure


def detections(book: Sketchbook, group: Group) -> Figure:
    """Labels and detections: a row per test set, a column per method."""
    figure = Figure(
        'Detections',
        f'The first image of each test set that was kept, not chosen by result. Detections '
        f'with a score of {DRAWN_ABOVE} or more, with their scores.',
    )
    shown = _worth_showing(group)
    seeds = [set(method.finished) for method in shown]
    common = sorted(set.intersection(*seeds)) if seeds else []
    if common:
        runs = [method.finished[common[0]] for method in shown]
    else:
        runs = [next(iter(method.finished.values())) for method in shown]
    files = {run.method: _read_detections(book, run) for run in runs}
    files = {name: data for name, data in files.items() if data is not None}
    if not files:
        figure.caption = 'No pictures of detections: no finished run has kept any.'
        return figure
    seeds = sorted({run.seed for run in runs if run.method in files})
    figure.caption += (
        f' Methods: {", ".join(files)} (the baseline, and of the others the highest means in and '
        f'out of domain), seed {", ".join(map(str, seeds))}.'
    )
    missing = _scenes(book, group, files, figure)
    if missing:
        figure.caption += f' Not there any more, and not drawn: {", ".join(missing)}.'
    return figure


def _scenes(book: Sketchbook, group: Group, files: Mapping[str, Any], figure: Figure) -> list[str]:
    """Draws the rows; returns the image files that are gone."""
    first = next(iter(files.values()))
    classes = [str(name) for name in first['classes']]
    rows, missing = [], []
    for domain in group.in_domain + group.out_of_domain:
        image = next((i for i in first['images'] if i['domain'] == domain), None)
        if image is None:
            continue
        file = _locate(book, image['path'])
        pixels = cv2.imread(str(file)) if file.is_file() else None
        if pixels is None:
            missing.append(image['path'])
            continue
        columns = [('labels', Boxes.of(image['truth']))]
        for name, data in files.items():
            same = [i for i in data['images'] if i['path'] == image['path']]
            same = [i for i in same if i['domain'] == domain]
            if same:
                columns.append((name, Boxes.of(same[0]['found'], DRAWN_ABOVE)))
        rows.append((domain, pixels[..., ::-1], columns))
    drawn = [boxes for _, _, columns in rows for _, boxes in columns]
    colors = class_colors(drawn, len(classes))
    for domain, pixels, columns in rows:
        for name, boxes in columns:
            words = (group.dataset, group.detector, 'boxes', domain, name)
            file = book.file(*words, suffix='.jpg')
            with look():
                draw_on_image(book.out / file, pixels, boxes, colors)
            alt = f'{domain}: {len(boxes.quads)} boxes, {name}'
            figure.pictures.append(Picture(file, alt, f'{domain}: {name}'))
    occurring = sorted({int(label) for boxes in drawn for label in boxes.labels})
    if occurring:
        names, own = [classes[i] for i in occurring], [colors[i] for i in occurring]
        file = book.file(group.dataset, group.detector, 'boxes-classes')
        with look():
            draw_class_legend(book.out / file, names, own)
        figure.legend = Picture(file, f'Colours of the classes {", ".join(names)}')
    figure.columns = 1 + len(files)
    return missing


def _locate(book: Sketchbook, path: str) -> Path:
    """An image by its path in the record, which may be relative to where the run started."""
    own = Path(path)
    return own if own.is_file() else book.work_dir / own


def _read_detections(book: Sketchbook, result: Result) -> Optional[dict[str, Any]]:
    try:
        text = (book.run_folder(result) / 'detections.json').read_text(encoding='utf-8')
        data = json.loads(text)
    except (OSError, ValueError):
        return None
    return data if data.get('images') else None


def _same(one: Any, two: Any) -> bool:
    """Whether two measurements of the start agree in the backbone's layers."""
    names = [name for name in one.layers if name.startswith('backbone.')]
    for name in names:
        if name not in two.layers:
            return False
        a, b = one.layers[name].eigenvalues, two.layers[name].eigenvalues
        if len(a) != len(b) or not np.allclose(a, b, rtol=1e-2, atol=1e-6 * max(a[0], 1e-30)):
            return False
    return True


def _worth_showing(group: Group) -> list[Method]:
    """The baseline, and of the others the best in and out of domain."""
    finished = [m for m in group.methods.values() if m.finished]
    picked = [m for m in finished if m.name == group.baseline]
    for key in ('mAP', 'ood_mAP'):
        scored = [m for m in finished if m.mean(key) is not None and m.name != group.baseline]
        picked += sorted(scored, key=lambda m: -m.mean(key))[:1]
    return list({m.name: m for m in picked or finished[:1]}.values())
