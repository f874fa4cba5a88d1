"""What the benchmarks share: a detector, drawn data, and variants timed in turn."""

import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any, Optional

import torch

DETECTORS = {
    'retinanet': '_base_/models/retinanet_r50_fpn.py',
    'faster-rcnn': '_base_/models/faster-rcnn_r50_fpn.py',
}


def build(device: str, detector: str = 'retinanet', frozen_stages: int = -1):
    """Config, detector of MMDetection on an R50-FPN, and its optimizer wrapper."""
    import mmdet
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from mmengine.registry import MODELS, init_default_scope

    from mmbackbone_plugins.lab import launch

    launch.register_modules()
    init_default_scope('mmdet')
    home = Path(mmdet.__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(home / DETECTORS[detector]))
    cfg.model.backbone.update(init_cfg=None, frozen_stages=frozen_stages)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
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


def alternate(variants: dict, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every variant, in turn, the order reversed every other round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for name in variants:
        variants[name]()
    for number in range(rounds):
        for name in list(variants)[:: 1 if number % 2 else -1]:
            start = clock(device)
            variants[name]()
            seconds[name].append(clock(device) - start)
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
