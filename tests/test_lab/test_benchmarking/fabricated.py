"""Draws up folders of benchmarks that nobody has run, with numbers that follow from names."""

import json
import math
import zlib
from pathlib import Path
from typing import Any, Optional

import numpy as np

from mmbackbone_plugins.lab.benchmarking.results import Result
from mmbackbone_plugins.spectra.files import Spectra, save_spectra
from mmbackbone_plugins.spectra.spectrum import summarize

METHODS = (
    'full',
    'frozen',
    'dbf-rho2',
    'dbf-rho3',
    'dbf-rho5',
    'dp-ft',
    'l2-sp',
    'rgn-reg',
    'ewc',
    'se',
    'adapter',
)
DOMAINS = ('clear', 'haze', 'dusk', 'snow', 'sensor-noise', 'blur', 'infrared', 'sepia')
LAYERS = {f'backbone.stage{i}': width for i, width in enumerate((16, 32, 64, 96), 1)}
CLASSES = ('plane', 'ship', 'storage-tank', 'tennis-court')
EPOCHS, LENGTH = 12, 25
HALF = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)  # of a t-interval of three, in sd


def draw(*words: Any) -> float:
    """A number in 0 to 1 that follows from words, the same on every machine."""
    return zlib.crc32('/'.join(map(str, words)).encode()) / 2**32


def make_result(
    method: str,
    seed: int,
    dataset: str = 'toy',
    detector: str = 'retinanet-r18',
    domains: tuple[str, ...] = DOMAINS,
    **changes: Any,
) -> Result:
    """A finished run with plausible numbers."""
    base = 0.45 + 0.25 * draw(method, dataset, detector)
    scores = {}
    for i, domain in enumerate(domains):
        fall = 0 if i == 0 else 0.05 + 0.3 * draw('domain', domain)
        mean = base - fall * (0.7 + 0.4 * draw(method, domain)) + 0.02 * draw(method, seed, domain)
        scores[domain] = dict(
            mAP=mean, AP50=min(1.0, mean * 1.5), AP75=mean * 1.05, classes={}, images=48, boxes=771
        )
    share = 1.0 if method == 'full' else 0.42 + 0.5 * draw('flops', method)
    frozen = method in ('frozen', 'adapter')
    name = f'{dataset}/{detector}/{method}/seed{seed}'
    return Result(
        **{
            **dict(
                dataset=dataset,
                detector=detector,
                method=method,
                seed=seed,
                state='finished',
                config=f'configs/toy_study/{detector}_{method}.py',
                options={},
                command=f'python tools/benchmark.py plans/toy-study.yml --only {name}',
                work_dir=f'work_dirs/toy-study/runs/{name}',
                checkpoint='train/epoch_12.pth',
                finished=f'2026-11-21T15:{int(60 * draw(name)):02d}:00',
                scores=scores,
                in_domain=[domains[0]],
                cost=dict(
                    flops=1.9e14 * share * (1 + 0.001 * draw('steps', name)),
                    full_flops=1.9e14,
                    seconds=280 * share + 20 * draw('time', name),
                    peak_memory=int((0.4 + share) * 2**28),
                    trainable_share=0.2 if frozen else share,
                    communicated_bytes=0,
                ),
                rgn=None
                if frozen
                else dict(
                    first=0.02 + 0.001 * draw('first', name),
                    mean=6917 * draw('exploding', name),
                    median_first=0.02 + 0.001 * draw('median', name),
                    median=0.004 + 0.03 * draw('rgn', method) + 0.002 * draw('rgn', name),
                    stages={},
                ),
                drift=dict(mean=0.0 if frozen else 0.02 + 0.1 * draw('drift', method), stages={}),
                machine=dict(
                    python='3.11.2',
                    torch='2.11.0',
                    mmdet='3.5.1',
                    device='cpu',
                    processor='AMD EPYC',
                    threads=1,
                ),
            ),
            **changes,
        }
    )


def save(work_dir: Path, result: Result) -> Path:
    """Writes ``result.json`` where a benchmark would; returns the run's folder."""
    folder = work_dir / 'runs' / result.name
    folder.mkdir(parents=True, exist_ok=True)
    result.save(folder)
    return folder


def make_failed(method: str, seed: int, error: str, **changes: Any) -> Result:
    """A run that failed."""
    return make_result(
        method,
        seed,
        state='failed',
        error=error,
        scores={},
        cost={},
        rgn=None,
        drift=None,
        checkpoint=None,
        **changes,
    )


def write_logs(folder: Path, result: Result) -> None:
    """What mmengine and the hooks leave in ``train``: scalars, and spectra at start and end."""
    start = folder / 'train' / '20261121_150000'
    (start / 'vis_data').mkdir(parents=True, exist_ok=True)
    rows = []
    period = int(result.method[-1]) if 'rho' in result.method else 1
    for epoch in range(1, EPOCHS + 1):
        trains = result.method not in ('frozen', 'adapter') and (epoch - 1) % period == 0
        if result.method == 'dp-ft':
            trains = epoch > 4
        for step in range(1, LENGTH + 1):
            i = (epoch - 1) * LENGTH + step
            loss = 0.35 + 1.6 * math.exp(-i / 60) + 0.08 * draw(result.name, i)
            rows.append(
                {'epoch': epoch, 'iter': i, 'loss': loss, 'freezing/trainable_stages': 5 * trains}
            )
        score = next(iter(result.scores.values()))['mAP'] * (1 - math.exp(-epoch / 3))
        rows.append({'step': epoch, 'toy/mAP': score})
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (start / 'vis_data' / 'scalars.json').write_text(text, encoding='utf-8')
    lines = []
    for epoch in (0, EPOCHS):
        moved = 0 if epoch == 0 or result.drift is None else result.drift['mean']
        layers = {}
        for layer, width in LAYERS.items():
            k = np.arange(1, width + 1)
            values = 0.8 * k ** -(1.4 + 8 * moved * draw(result.method, layer))
            layers[layer] = summarize(np.diag(values))
        file = f'eigenspectrum/epoch_{epoch}.npz'
        (start / file).parent.mkdir(exist_ok=True)
        save_spectra(start / file, Spectra(layers, dict(epoch=epoch, threshold=1e-3, images=48)))
        lines.append(json.dumps(dict(epoch=epoch, iter=epoch * LENGTH, file=file)) + '\n')
    (start / 'eigen.jsonl').write_text(''.join(lines), encoding='utf-8')


def write_detections(folder: Path, result: Result, images: dict[str, Path], size: int) -> None:
    """``detections.json``: the labels of pictures that exist, and detections near them."""
    kept = []
    for domain, path in images.items():
        rng = np.random.default_rng(zlib.crc32(domain.encode()))
        corners = rng.uniform(0.1 * size, 0.8 * size, (8, 1, 2))
        angle = rng.uniform(0, math.pi, (8, 1))
        side = np.stack([np.cos(angle), np.sin(angle)], -1) * size * 0.09
        across = np.stack([-side[..., 1], side[..., 0]], -1) * 0.5
        quads = np.concatenate(
            [corners, corners + side, corners + side + across, corners + across], axis=1
        ).reshape(-1, 8)
        labels = rng.integers(0, len(CLASSES), 8)
        shift = 4 * (draw(result.name, domain) - 0.5)
        found = [i for i in range(8) if draw(result.name, domain, i) > 0.25]
        kept.append(
            dict(
                domain=domain,
                path=str(path),
                truth=dict(quads=quads.tolist(), labels=labels.tolist()),
                found=dict(
                    quads=(quads[found] + shift).tolist(),
                    labels=labels[found].tolist(),
                    scores=[round(0.2 + 0.8 * draw(result.name, i), 3) for i in found],
                ),
            )
        )
    text = json.dumps(dict(classes=list(CLASSES), images=kept))
    (folder / 'detections.json').write_text(text, encoding='utf-8')


def draw_images(folder: Path, domains: tuple[str, ...], size: int = 128) -> dict[str, Path]:
    """A picture per test set."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for domain in domains:
        rng = np.random.default_rng(zlib.crc32(domain.encode()))
        ground = rng.integers(60, 180, (size // 16, size // 16, 3), dtype=np.uint8)
        paths[domain] = folder / f'{domain}.png'
        cv2.imwrite(str(paths[domain]), cv2.resize(ground, (size, size)))
    return paths


def make_benchmark(
    work_dir: Path,
    methods: tuple[str, ...] = METHODS,
    seeds: tuple[int, ...] = (0, 1, 2),
    domains: tuple[str, ...] = DOMAINS,
    logs: bool = True,
    size: Optional[int] = 128,
    **changes: Any,
) -> list[Result]:
    """A whole benchmark: all results, and what runs leave behind."""
    images = draw_images(work_dir / 'images', domains, size) if size else {}
    results = []
    for method in methods:
        for seed in seeds:
            result = make_result(method, seed, domains=domains, **changes)
            folder = save(work_dir, result)
            if logs:
                write_logs(folder, result)
            if images:
                write_detections(folder, result, images, size)
            results.append(result)
    return results
