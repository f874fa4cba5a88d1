"""What the benchmarks share: a detector, drawn data, and variants timed in turn."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

import torch

DETECTORS = {
    'retinanet': '_base_/models/retinanet_r50_fpn.py',
    'faster-rcnn': '_base_/models/faster-rcnn_r50_fpn.py',
}


def make_parser(text: str, rounds: int, size: Optional[int] = 384) -> argparse.ArgumentParser:
    """A parser with the options of all benchmarks."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    if size:
        parser.add_argument('--size', type=int, default=size, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=rounds, help='timed rounds of each variant')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    return parser


def build(
    device: str,
    detector: str = 'retinanet',
    frozen_stages: int = -1,
    blocks: Optional[dict[str, Any]] = None,
    with_cp: bool = False,
    lr: float = 1e-4,
    light: bool = False,
):
    """Config, detector of MMDetection on an R50-FPN, and its optimizer wrapper.

    Steps with a learning rate of zero cost what they cost, and the work never drifts.
    """
    import mmdet
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from mmengine.registry import MODELS, init_default_scope

    from mmbackbone_plugins.lab import launch

    launch.register_modules()
    init_default_scope('mmdet')
    home = Path(mmdet.__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(home / DETECTORS[detector]))
    cfg.model.backbone.update(init_cfg=None, frozen_stages=frozen_stages, with_cp=with_cp)
    if light:
        cfg.model.neck.out_channels = 64
        small = dict(in_channels=64, feat_channels=64, stacked_convs=2, num_classes=15)
        cfg.model.bbox_head.update(small)
    if blocks:
        outer = dict(type='StageBlockBackbone', backbone=cfg.model.backbone, **blocks)
        cfg.model.backbone = outer
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return cfg, model, OptimWrapper(optimizer)


def draw(size: int, batch: int):
    """A batch of noise with six boxes an image."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    inputs, samples = [], []
    for _ in range(batch):
        corner = torch.rand(6, 2) * size / 2
        boxes = torch.cat([corner, corner + 16 + torch.rand(6, 2) * size / 3], dim=1)
        shape = (size, size)
        sample = DetDataSample(
            metainfo=dict(img_shape=shape, pad_shape=shape, batch_input_shape=shape)
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(0, 80, (6,)))
        inputs.append(torch.randint(0, 255, (3, size, size), dtype=torch.uint8))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def clock(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device != 'cpu':
        torch.cuda.synchronize()
    return time.perf_counter()


def alternate(
    variants: dict, rounds: int, device: str, prepare: Callable[[str], None] = lambda name: None
) -> dict[str, list[float]]:
    """Seconds of every variant, in turn, the order reversed every other round.

    Args:
        variants: What is timed, by name.
        rounds: How often each is.
        device: Where it runs.
        prepare: Called with a name before its turn; not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for name in variants:
        prepare(name)
        variants[name]()
    for number in range(rounds):
        for name in list(variants)[:: 1 if number % 2 else -1]:
            prepare(name)
            start = clock(device)
            variants[name]()
            seconds[name].append(clock(device) - start)
        progress(f'round {number + 1} of {rounds}')
    return seconds


def ratio(seconds: dict, name: str, of: str) -> float:
    """Median over rounds of neighbouring runs."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[of]))


def allocated(function, device: str) -> int:
    """Bytes that a call has at most allocated at once (GPU), or in all (CPU)."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        function()
    return sum(max(e.self_cpu_memory_usage, 0) for e in profile.key_averages())


def peak_bytes(step: Callable[[], Any], device: str) -> int:
    """Most bytes that a step has allocated at once: activations, gradients, buffers."""
    if device != 'cpu':
        return allocated(step, device)
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    return max(e['args']['Total Allocated'] for e in events if e.get('name') == '[memory]')


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r{text}   ', end='', file=sys.stderr, flush=True)


def heading(args: argparse.Namespace) -> None:
    """Says what the numbers of a training step are of."""
    where = torch.cuda.get_device_name() if args.device != 'cpu' else platform.processor() or 'CPU'
    where = f'{os.cpu_count()} cores, {where}' if args.device == 'cpu' else where
    print(
        f'\nR50-FPN RetinaNet, {args.size} px, batch {args.batch}, {args.rounds} rounds, '
        f'frozen_stages={args.frozen_stages}, torch {torch.__version__}, {where}\n'
    )


def machine(device: str) -> dict[str, Any]:
    """What the figures are of."""
    return dict(
        device=device,
        machine=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def report(figures: dict[str, Any], out: Optional[Path]) -> None:
    """Prints the figures, and writes them if there is a file for them."""
    text = json.dumps(figures, indent=2)
    print(text)
    if out:
        out.write_text(text)
