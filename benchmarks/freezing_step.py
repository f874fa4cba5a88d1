"""What a frozen backbone saves in a training step: time, memory, communication.

    python benchmarks/freezing_step.py                 # R50-FPN RetinaNet, 512 px, batch 2
    python benchmarks/freezing_step.py --device cuda --size 1024

Four ways to run the same step, alternating in one process, medians and ratios:

- full:     everything trains, with the hook in an unfrozen epoch;
- detached: the backbone's outputs are detached, as in the DBF authors' code;
- frozen:   this package's freezer;
- floor:    the backbone in eval mode under ``no_grad``, written by hand.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.multiprocessing as mp

WAYS = ('full', 'detached', 'frozen', 'floor')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=512, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=9, help='timed steps of each way')
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--frozen-stages', type=int, default=-1, help='-1: all of it trains; mmdet: 1'
    )
    parser.add_argument('--skip-ddp', action='store_true', help='leave the two processes out')
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    return parser.parse_args()


def build_model(frozen_stages: int, device: str):
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    from mmbackbone_plugins.lab import launch

    launch.register_modules()
    init_default_scope('mmdet')
    import mmdet

    home = Path(mmdet.__file__).parent / '.mim' / 'configs'
    cfg = Config.fromfile(str(home / '_base_' / 'models' / 'retinanet_r50_fpn.py'))
    cfg.model.backbone.update(init_cfg=None, frozen_stages=frozen_stages)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device)
    model.train()
    return cfg, model


class Steps:
    """One model and optimizer; every way of running a step leaves them ready for the next."""

    def __init__(self, args: argparse.Namespace) -> None:
        from mmbackbone_plugins import Freezer, StageMap
        from mmbackbone_plugins.lab import inputs

        cfg, self.model = build_model(args.frozen_stages, args.device)
        cfg.train_dataloader = dict(dataset=dict())
        self.batch = inputs.draw_batch(cfg, self.model, (args.size, args.size), args.batch)
        # A learning rate of zero: the steps cost what they cost and the work never drifts.
        options = dict(lr=0.0, momentum=0.9, weight_decay=1e-4)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **options)
        self.freezer = Freezer(self.model, StageMap.of(self.model))
        self.forward = self.model.backbone.forward
        self.device = args.device

    def prepare(self, way: str) -> None:
        """Puts the model into the state of a way; not timed, a phase is prepared once."""
        everything = self.freezer.stage_map.names
        self.model.backbone.forward = self.forward
        self.freezer.apply(() if way == 'frozen' else everything)
        self.model.train()
        self.freezer.apply_modes()
        self.optimizer.zero_grad()
        self.model.__dict__.pop('extract_feat', None)
        if way == 'detached':
            self.model.extract_feat = self._extract_feat_detached
        if way == 'floor':
            self.model.backbone.eval()
            self.model.backbone.forward = torch.no_grad()(self.forward)

    def _extract_feat_detached(self, images):
        # As the authors write it: the outputs, and with them their graph, live until the neck ran.
        outs = self.model.backbone(images)
        return self.model.neck(tuple(out.detach() for out in outs))

    def step(self) -> None:
        self.freezer.apply_modes()
        losses = self.model.loss(*self.batch)
        loss, _ = self.model.parse_losses(losses)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device != 'cpu':
            torch.cuda.synchronize()


def timed(step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_bytes(step, device: str) -> int:
    """Most bytes that a step has allocated at once: activations, gradients, buffers.

    Weights and optimizer state lie there already and are the same in all four ways.
    """
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    totals = [e['args']['Total Allocated'] for e in events if e.get('name') == '[memory]']
    return max(totals)


def measure_steps(args: argparse.Namespace) -> dict:
    steps = Steps(args)
    times: dict = {way: [] for way in WAYS}
    memory = {}
    for way in WAYS:  # warm-up, and memory
        steps.prepare(way)
        steps.step()
        memory[way] = peak_bytes(steps.step, args.device)
    for number in range(args.rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            steps.prepare(way)
            times[way].append(timed(steps.step))
        progress(f'round {number + 1} of {args.rounds}')
    seconds = {way: statistics.median(values) for way, values in times.items()}
    # The same round's steps are neighbours in time, so that a slow moment meets both.
    ratios = {
        way: statistics.median(a / b for a, b in zip(times[way], times['floor'])) for way in WAYS
    }
    return dict(
        seconds=seconds, of_floor=ratios, peak_bytes=memory, hook=hook_share(steps, seconds)
    )


def hook_share(steps: Steps, seconds: dict) -> dict:
    """Time of the hook's own work in an unfrozen step, of the step's time."""
    from mmbackbone_plugins import FreezingSchedulerHook

    hook = FreezingSchedulerHook(dict(type='StepFreezing', rho=1))
    steps.prepare('full')
    hook.freezer = steps.freezer
    runner = SimpleNamespace(epoch=0, iter=0, model=steps.model)
    calls = [timed(lambda: hook.before_train_iter(runner, 0)) for _ in range(2000)]
    return dict(seconds=statistics.median(calls), share=statistics.median(calls) / seconds['full'])


def communicate(rank: int, port: int, folder: str) -> None:
    """Bytes that a rank sends in an unfrozen and a frozen step, in three ways."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    from mmbackbone_plugins import Freezer, StageMap
    from mmbackbone_plugins.freezing.ddp import rebuild
    from mmbackbone_plugins.lab import inputs

    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.distributed.init_process_group('gloo', rank=rank, world_size=2)
    torch.set_num_threads(1)
    cfg, model = build_model(1, 'cpu')
    cfg.train_dataloader = dict(dataset=dict())
    images, samples = inputs.draw_batch(cfg, model, (64, 64))
    freezer = Freezer(model, StageMap.of(model))
    sent = [0]

    def count(_, bucket):
        sent[0] += bucket.buffer().nbytes
        return allreduce_hook(None, bucket)

    def step(ddp) -> int:
        sent[0] = 0
        losses = ddp(images, samples, mode='loss')
        model.parse_losses(losses)[0].backward()
        return sent[0]

    result = {}
    wrapper = torch.nn.parallel.DistributedDataParallel
    for name, options in (('ours', {}), ('find_unused', dict(find_unused_parameters=True))):
        freezer.apply(freezer.stage_map.names)
        ddp = wrapper(model, broadcast_buffers=False, **options)
        ddp.register_comm_hook(None, count)
        result[f'{name}, unfrozen'] = step(ddp)
        freezer.apply(())
        if name == 'ours':
            ddp = rebuild(ddp)
        result[f'{name}, frozen'] = step(ddp)
        del ddp
    result['decoder'] = 4 * sum(
        p.numel() for n, p in model.named_parameters() if not n.startswith('backbone.')
    )
    if rank == 0:
        Path(folder, 'bytes.json').write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


def measure_bytes() -> dict:
    import socket

    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(communicate, (port, folder), nprocs=2)
        return json.loads(Path(folder, 'bytes.json').read_text())


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f'\r{text}   ', end='', file=sys.stderr, flush=True)


def report(args: argparse.Namespace, figures: dict) -> None:
    name = torch.cuda.get_device_name() if args.device != 'cpu' else platform.processor() or 'CPU'
    where = f'{os.cpu_count()} cores, {name}' if args.device == 'cpu' else name
    print(
        f'\nR50-FPN RetinaNet, {args.size} px, batch {args.batch}, {args.rounds} rounds, ', end=''
    )
    print(f'frozen_stages={args.frozen_stages}, torch {torch.__version__}, {where}\n')
    print('| step | median s | of the floor | peak MB | of detached |')
    print('| --- | --- | --- | --- | --- |')
    for way in WAYS:
        peak = figures['peak_bytes'][way]
        print(
            f'| {way} | {figures["seconds"][way]:.3f} | {figures["of_floor"][way]:.3f} | '
            f'{peak / 1e6:.0f} | {peak / figures["peak_bytes"]["detached"]:.3f} |'
        )
    hook = figures['hook']
    print(f'\nhook in an unfrozen step: {hook["seconds"] * 1e6:.1f} us, {hook["share"]:.2e} of it')
    if 'bytes' in figures:
        print('\n| gradients sent by a rank | MB |\n| --- | --- |')
        for key, value in figures['bytes'].items():
            print(f'| {key} | {value / 1e6:.2f} |')


def main() -> None:
    args = parse_args()
    figures = measure_steps(args)
    if not args.skip_ddp:
        figures['bytes'] = measure_bytes()
    report(args, figures)
    if args.out:
        args.out.write_text(json.dumps(dict(vars(args), out=str(args.out), **figures), indent=2))


if __name__ == '__main__':
    main()
