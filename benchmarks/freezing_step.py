"""What a frozen backbone saves in a training step: time, memory, communication.

    python benchmarks/freezing_step.py                 # R50-FPN RetinaNet, 512 px, batch 2
    python benchmarks/freezing_step.py --device cuda --size 1024 --amp

Ways to run the same step, alternating in one process, medians and ratios:

- full:     everything trains, with the hook in an unfrozen epoch;
- detached: the backbone's outputs are detached, as in the DBF authors' code;
- frozen:   this package's freezer;
- folded, bf16: the same, through frozen_forward='folded' and 'bf16';
- folded, compiled and bf16, compiled: with frozen_compile=True (--compile);
- floor:    the backbone in eval mode under ``no_grad``, written by hand;
- suffix:   the last stage trains on a frozen prefix (--suffix): by the freezer, folded, and by hand
  with the prefix in eval mode under ``no_grad``.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.multiprocessing as mp
from common import alternate, build, make_parser, ratio, report, table, train_step
from owners import owners_at_peak

from mmbackbone_plugins.lab.fitting import peak_bytes

FORWARDS = ('folded', 'bf16')
COMPILED = ('folded, compiled', 'bf16, compiled')
WAYS = ('full', 'detached', 'frozen', *FORWARDS, 'floor')
SUFFIX = ('suffix', 'suffix folded', 'suffix by hand')
BELOW = ('conv1', 'bn1', 'layer1', 'layer2', 'layer3')


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, rounds=9, size=512, frozen_stages=True)
    parser.add_argument(
        '--light', action='store_true', help='FPN of 64 channels, two convolutions, 15 classes'
    )
    parser.add_argument('--compile', action='store_true', help='rows of compiled frozen parts')
    parser.add_argument('--suffix', action='store_true', help='rows of a last stage that trains')
    parser.add_argument(
        '--breakdown', action='store_true', help='print who allocated what is there at the peak'
    )
    parser.add_argument('--skip-ddp', action='store_true', help='leave the two processes out')
    args = parser.parse_args()
    if args.breakdown and args.device != 'cpu':
        parser.error(f'--breakdown reads the records of a CPU, not of {args.device}')
    return args


class Steps:
    """One model and optimizer; every way of running a step leaves them ready for the next."""

    def __init__(self, args: argparse.Namespace) -> None:
        from mmbackbone_plugins import Freezer, FrozenForward, StageMap
        from mmbackbone_plugins.lab import inputs

        settings = dict(frozen_stages=args.frozen_stages, amp=args.amp, light=args.light)
        cfg, self.model, self.wrapper = build(args.device, **settings)
        self.batch = inputs.draw_batch(cfg, self.model, (args.size, args.size), args.batch)
        self.freezer = Freezer(self.model, StageMap.of(self.model))
        self.forward = self.model.backbone.forward
        self.other = {
            way: FrozenForward(
                self.model, ['backbone'], way.split(',')[0], lambda text: None, way in COMPILED
            )
            for way in FORWARDS + (COMPILED if args.compile else ())
        }
        self.way = ''

    def prepare(self, way: str) -> None:
        """Puts the model into the state of a way; not timed, a phase is prepared once."""
        self.way = way
        everything = self.freezer.stage_map.names
        self.model.backbone.forward = self.forward
        backbone = self.model.backbone
        for name in BELOW:
            vars(getattr(backbone, name)).pop('forward', None)
        trains = ('stage4',) if way in SUFFIX[:2] else everything
        self.freezer.apply(() if way in ('frozen', *self.other) else trains)
        for way_there, other in self.other.items():
            if way_there not in COMPILED:  # a graph takes long to make, and nothing has changed
                other.drop()
        self.model.train()
        self.freezer.apply_modes()
        with self.other.get(way.removeprefix('suffix '), nullcontext()):
            pass  # the other weights are made at the beginning of a phase
        self.wrapper.zero_grad()
        self.model.__dict__.pop('extract_feat', None)
        if way == 'detached':
            self.model.extract_feat = self._extract_feat_detached
        if way == 'floor':
            self.model.backbone.eval()
            self.model.backbone.forward = torch.no_grad()(self.forward)
        if way == 'suffix by hand':
            for module in (getattr(backbone, name) for name in BELOW):
                module.eval()
                module.forward = torch.no_grad()(module.forward)

    def _extract_feat_detached(self, images):
        # As the authors write it: the outputs, and with them their graph, live until the neck ran.
        outs = self.model.backbone(images)
        return self.model.neck(tuple(out.detach() for out in outs))

    def step(self) -> None:
        self.freezer.apply_modes()
        with self.other.get(self.way.removeprefix('suffix '), nullcontext()):
            train_step(self.model, self.batch, self.wrapper)


def measure_steps(args: argparse.Namespace) -> dict:
    steps, memory, owners = Steps(args), {}, {}
    names = WAYS + (COMPILED if args.compile else ()) + (SUFFIX if args.suffix else ())
    for way in names:
        steps.prepare(way)
        for _ in range(2):  # a first step may allocate what stays
            steps.step()
        memory[way] = peak_bytes(steps.step, args.device)
        if args.breakdown:
            owners[way] = owners_at_peak(steps.model, steps.wrapper.optimizer, steps.step)
    ways = {way: steps.step for way in names}
    times = alternate(ways, args.rounds, args.device, steps.prepare)
    seconds = {way: statistics.median(values) for way, values in times.items()}
    # The same round's steps are neighbours in time, so that a slow moment meets both.
    of_floor = {way: ratio(times, way, 'floor') for way in names}
    of_frozen = {way: ratio(times, way, 'frozen') for way in names}
    hook = hook_share(steps, seconds)
    switch = switch_of_a_step(steps, args)
    figures = dict(
        switch_of_a_step=switch,
        seconds=seconds,
        of_floor=of_floor,
        of_frozen=of_frozen,
        peak_bytes=memory,
        hook=hook,
    )
    return dict(figures, megabytes_at_peak=owners) if owners else figures


def hook_share(steps: Steps, seconds: dict) -> dict:
    """Time of the hook's own work in an unfrozen step, of the step's time."""
    from mmbackbone_plugins import FreezingSchedulerHook

    hook = FreezingSchedulerHook(dict(type='StepFreezing', rho=1))
    steps.prepare('full')
    hook.freezer = steps.freezer
    runner = SimpleNamespace(epoch=0, iter=0, model=steps.model)
    calls = alternate(dict(hook=lambda: hook.before_train_iter(runner, 0)), 2000, 'cpu')['hook']
    return dict(seconds=statistics.median(calls), share=statistics.median(calls) / seconds['full'])


def switch_of_a_step(steps: Steps, args: argparse.Namespace) -> dict:
    """Time to make the other weights at a phase's beginning, of a frozen step."""

    def make(way: str) -> None:
        steps.other[way].drop()
        with steps.other[way]:
            pass

    steps.prepare('frozen')
    ways = {way: lambda way=way: make(way) for way in FORWARDS}
    times = alternate(dict(step=steps.step, **ways), args.rounds, args.device)
    return {way: ratio(times, way, 'step') for way in FORWARDS}


def communicate(rank: int, folder: str) -> None:
    """Bytes that a rank sends in an unfrozen and a frozen step, in three ways."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    from mmbackbone_plugins import Freezer, StageMap
    from mmbackbone_plugins.freezing.ddp import rebuild
    from mmbackbone_plugins.lab import inputs

    store = f'file://{folder}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    torch.set_num_threads(1)
    cfg, model, _ = build('cpu', frozen_stages=1)
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
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(communicate, (folder,), nprocs=2)
        return json.loads(Path(folder, 'bytes.json').read_text())


def show(figures: dict) -> None:
    peaks = figures['peak_bytes']
    rows = [
        (way, *(f'{figures[key][way]:.3f}' for key in ('seconds', 'of_floor', 'of_frozen')))
        + (f'{peak / 1e6:.0f}', f'{peak / peaks["detached"]:.3f}')
        for way, peak in peaks.items()
    ]
    header = ('step', 'median s', 'of the floor', 'of frozen', 'peak MB', 'of detached')
    table(header, rows)
    hook = figures['hook']
    print(
        f'\nhook in an unfrozen step: {hook["seconds"] * 1e6:.1f} us, {hook["share"]:.2e} of it\n'
    )
    for way, share in figures['switch_of_a_step'].items():
        print(f'weights of {way!r} made at the beginning of a phase: {share:.3f} of a frozen step')
    if 'bytes' in figures:
        sent = ((key, f'{value / 1e6:.2f}') for key, value in figures['bytes'].items())
        table(('gradients sent by a rank', 'MB'), sent)
    for way, owners in figures.get('megabytes_at_peak', {}).items():
        print()
        table((f'at the peak of {way}', 'MB'), ((name, str(mb)) for name, mb in owners.items()))


def main() -> None:
    args = parse_args()
    figures = measure_steps(args)
    if not args.skip_ddp:
        figures['bytes'] = measure_bytes()
    report(args, figures, show)


if __name__ == '__main__':
    main()
