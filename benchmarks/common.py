"""What the benchmarks share: a detector, drawn data, and variants timed in turn."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import torch

DETECTORS = {
    'retinanet': '_base_/models/retinanet_r50_fpn.py',
    'faster-rcnn': '_base_/models/faster-rcnn_r50_fpn.py',
}


def make_parser(
    text: str, rounds: int, size: int = 384, amp: bool = True, frozen_stages: bool = False
) -> argparse.ArgumentParser:
    """A parser with the options of all benchmarks, and of training steps where asked for."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument('--size', type=int, default=size, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=rounds, help='timed rounds of each variant')
    parser.add_argument('--device', type=device_name, default='cpu', help='cpu, cuda or cuda:1')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    if amp:
        parser.add_argument(
            '--amp',
            nargs='?',
            const='float16',
            choices=('float16', 'bfloat16'),
            help='mixed precision with a loss scaler, as AmpOptimWrapper does it (GPU)',
        )
    if frozen_stages:
        parser.add_argument(
            '--frozen-stages', type=int, default=-1, help='-1: all of it trains; mmdet: 1'
        )
    return parser


def device_name(text: str) -> str:
    """Makes a GPU the current one: clocks and counters of memory are read from that."""
    try:
        device = torch.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f'no such device: {text!r}') from None
    if device.type != 'cpu':
        if (device.index or 0) >= torch.cuda.device_count():
            raise argparse.ArgumentTypeError(
                f'{text!r}: there are {torch.cuda.device_count()} GPUs that torch can use'
            )
        torch.cuda.set_device(device.index or 0)
    return text


def build(
    device: str,
    detector: str = 'retinanet',
    frozen_stages: int = -1,
    blocks: Optional[dict[str, Any]] = None,
    with_cp: bool = False,
    amp: Optional[str] = None,
    light: bool = False,
):
    """Config, detector of MMDetection on an R50-FPN, and its optimizer wrapper.

    The learning rate is zero: a head that fits its one batch sends back subnormal gradients after
    a dozen steps, with which a step on a CPU takes up to twice as long.
    """
    import mmdet
    from mmengine.config import Config
    from mmengine.optim import AmpOptimWrapper, OptimWrapper
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
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    if amp is None:
        return cfg, model, OptimWrapper(optimizer)
    return cfg, model, AmpOptimWrapper(optimizer=optimizer, dtype=amp)


def train_step(model, batch, wrapper) -> None:
    """One step on images and boxes that have been preprocessed, as ``model.train_step`` does it."""
    with wrapper.optim_context(model):
        loss, _ = model.parse_losses(model.loss(*batch))
    wrapper.update_params(loss)


def backward(model, data, wrapper) -> None:
    """The gradients of a drawn batch, which stay."""
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()


def draw(size: int, batch: int, device: str):
    """A batch of noise with six boxes an image, on the device: no step waits for a copy of it."""
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
        inputs.append(torch.randint(0, 255, (3, size, size), dtype=torch.uint8).to(device))
        samples.append(sample.to(device))
    return dict(inputs=inputs, data_samples=samples)


def clock(device: str) -> float:
    """Seconds, once the device has done what it was given; of one thread, those of its CPU.

    So OMP_NUM_THREADS=1 takes figures that other work on the machine hardly changes.
    """
    if device != 'cpu':
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def alternate(
    variants: dict,
    rounds: int,
    device: str,
    prepare: Callable[[str], None] = lambda name: None,
    row: int = 1,
) -> dict[str, list[float]]:
    """Seconds of every variant, in turn, the order reversed every other round.

    Args:
        variants: What is timed, by name.
        rounds: How often each is.
        device: Where it runs.
        prepare: Called with a name before its turn; not timed.
        row: Calls for one time, which is their mean: a GPU is waited for before and after only, so
            that the cost of waiting in between shows.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for name in variants:
        prepare(name)
        for _ in range(1 if device == 'cpu' else 3):  # cuDNN's plans, the allocator's blocks
            variants[name]()
    for number in range(rounds):
        for name in list(variants)[:: 1 if number % 2 else -1]:
            prepare(name)
            start = clock(device)
            for _ in range(row):
                variants[name]()
            seconds[name].append((clock(device) - start) / row)
        progress(f'round {number + 1} of {rounds}')
    return seconds


def inside_steps(step: Callable[[], Any], wrapper, listeners: dict, args) -> dict[str, Any]:
    """What work on the gradients adds to whole steps; reading a number makes the host wait.

    Args:
        step: A training step.
        wrapper: Its optimizer wrapper.
        listeners: A GradientListener and what is called after each of its steps, by name.
        args: Of :func:`make_parser`.
    """
    from mmbackbone_plugins.hooks.gradient_tap import listen

    row, none = 1 if args.device == 'cpu' else 4, [None, lambda: None]
    variants: dict[str, Callable[[], Any]] = {}
    taps: list[Any] = []

    def prepare(name: str) -> None:
        while taps:
            tap, listener = taps.pop()
            tap.remove(listener)
        listener = listeners.get(name, none)[0]
        if listener is not None:
            taps.append((listen(wrapper, listener), listener))

    for name in ('without', 'without, again', *listeners):
        after = listeners.get(name, none)[1]
        variants[name] = lambda after=after: (step(), after())
    seconds = alternate(variants, args.rounds, args.device, prepare, row)
    prepare('without')
    return dict(
        steps_in_a_row=row,
        milliseconds={name: 1e3 * statistics.median(v) for name, v in seconds.items()},
        of_a_step_without={name: ratio(seconds, name, 'without') for name in seconds},
    )


def ratio(seconds: dict, name: str, of: str) -> float:
    """Median over rounds of neighbouring runs."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[of]))


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r{text}   ', end='', file=sys.stderr, flush=True)


def heading(args: argparse.Namespace) -> None:
    """Says what the numbers of a training step are of."""
    of = machine(args.device)
    where = of['gpu'] if args.device != 'cpu' else f'{of["cores"]} cores, {of["machine"]}'
    kind = 'FP32 (TF32 convolutions)' if of['tf32_convolutions'] else 'FP32'
    kind = f'AMP in {args.amp}' if args.amp else kind
    print(
        f'\nR50-FPN RetinaNet, {args.size} px, batch {args.batch}, {args.rounds} rounds, '
        f'{kind}, frozen_stages={args.frozen_stages}, torch {torch.__version__}, {where}\n'
    )


def machine(device: str) -> dict[str, Any]:
    """What the figures are of."""
    from mmbackbone_plugins.lab.benchmarking.collect import processor

    found: dict[str, Any] = dict(
        device=device,
        machine=processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        tf32_convolutions=device != 'cpu' and torch.backends.cudnn.allow_tf32,
        tf32_products=device != 'cpu' and torch.backends.cuda.matmul.allow_tf32,
    )
    if device != 'cpu':
        found.update(
            gpu=torch.cuda.get_device_name(),
            driver=_driver(),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
        )
    return found


def _driver() -> str:
    command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        return subprocess.check_output(command, text=True, timeout=10).split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return 'unknown'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table in Markdown."""
    for row in (columns, ['---'] * len(columns), *rows):
        print('|', ' | '.join(row), '|')


def report(
    args: argparse.Namespace, figures: dict[str, Any], show: Optional[Callable] = None
) -> None:
    """Shows the figures, by tables or as they are; writes them if there is a file for them."""
    of = machine(getattr(args, 'device', 'cpu'))
    text = json.dumps(dict(vars(args), **of, **figures), indent=2, default=str)
    if show is None:
        print(text)
    else:
        heading(args)
        show(figures)
    if args.out:
        args.out.write_text(text)
