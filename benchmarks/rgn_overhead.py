"""What measuring costs: RGN and drift against a training step, and against plain loops.

    python benchmarks/rgn_overhead.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/rgn_overhead.py --device cuda --size 1024

All variants alternate in one process; a ratio is the median over rounds of neighbouring runs.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=384, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=11, help='timed rounds of each variant')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    return parser.parse_args()


def build(device: str):
    import mmdet
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper
    from mmengine.registry import MODELS, init_default_scope

    from mmbackbone_plugins import launch

    launch.register_modules()
    init_default_scope('mmdet')
    home = Path(mmdet.__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(home / '_base_' / 'models' / 'retinanet_r50_fpn.py'))
    cfg.model.backbone.update(init_cfg=None, frozen_stages=-1)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    return model, OptimWrapper(optimizer)


def draw(size: int, batch: int):
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
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[of]))


def float32_loop(parameters) -> dict[str, float]:
    """A plain loop with float32 norms; numbers stay on the device until its end."""
    found = {n: p.grad.norm() / (p.detach().norm() + 1e-8) for n, p in parameters}
    return dict(zip(found, torch.stack(list(found.values())).tolist()))


def item_loop(parameters) -> dict[str, float]:
    return {n: (p.grad.norm() / (p.detach().norm() + 1e-8)).item() for n, p in parameters}


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


def main() -> int:
    args = parse_args()
    from mmbackbone_plugins import StageMap, relative_gradient_norm
    from mmbackbone_plugins.distortion import Anchor, weight_drift
    from mmbackbone_plugins.distortion.rgn import measure, read
    from mmbackbone_plugins.distortion.table import RGNTable

    model, wrapper = build(args.device)
    stages = StageMap.of(model)
    named = dict(model.named_parameters())
    parameters = {name: named[name] for name in stages.parameters}
    pairs = list(parameters.items())
    data = draw(args.size, args.batch)
    step = lambda: model.train_step(data, wrapper)  # noqa: E731
    seconds_of_step = alternate(dict(step=step), args.rounds, args.device)['step']
    step_seconds = statistics.median(seconds_of_step)

    loss, _ = model.parse_losses(model(**model.data_preprocessor(data, True), mode='loss'))
    loss.backward()

    def hook():  # what RGNHook does at a measured step, writing the file aside
        RGNTable.of(read([measure(parameters)])[0], stages).to_dict()

    seconds = alternate(
        {
            'tensor': lambda: relative_gradient_norm(pairs, 'tensor'),
            'kernel': lambda: relative_gradient_norm(pairs, 'kernel'),
            'hook': hook,
            'float32 loop': lambda: float32_loop(pairs),
            'item loop': lambda: item_loop(pairs),
        },
        max(args.rounds, 21),
        args.device,
    )
    anchor = Anchor.of(model, stages.parameters, 'cpu')
    groups = {s.name: s.parameters for s in stages}
    drift = alternate(
        dict(drift=lambda: weight_drift(named, anchor.tensors, groups)), 5, args.device
    )['drift']
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    size = sum(p.nbytes for p in parameters.values())
    figures = dict(
        device=args.device,
        machine=platform.processor() or platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        size=args.size,
        batch=args.batch,
        step_ms=1e3 * step_seconds,
        milliseconds={name: 1e3 * value for name, value in medians.items()},
        of_a_step={
            'every iteration': medians['hook'] / step_seconds,
            'interval 50': medians['hook'] / step_seconds / 50,
            'drift of weights, once': statistics.median(drift) / step_seconds,
        },
        tensor_over_float32_loop=ratio(seconds, 'tensor', 'float32 loop'),
        item_loop_over_tensor=ratio(seconds, 'item loop', 'tensor'),
        allocated_over_backbone={
            kind: allocated(lambda k=kind: relative_gradient_norm(pairs, k), args.device) / size
            for kind in ('tensor', 'kernel')
        },
    )
    print(json.dumps(figures, indent=2))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
