"""What blocks after the stages of a frozen backbone cost in a training step: time and memory.

    python benchmarks/stage_blocks.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/stage_blocks.py --device cuda --size 1024

A frozen backbone builds no graph. With a block that trains after its first stage, the stages behind
it stay frozen, but the gradient goes through them, so they keep graph and activations. The variants
run in turn in one process; a ratio of times is the median over rounds of neighbouring steps. FLOPs
and memory are counted.
"""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any, Optional

import torch
from freezing_step import peak_bytes, progress, timed

SE = dict(block=dict(type='SEBlock', init='identity'), per_stage=dict(reduction=[4, 8, 16, 32]))
ADAPTER = dict(block=dict(type='ResidualAdapter'))
LATE = ['stage3', 'stage4']
LATE_SE = dict(block=SE['block'], stages=LATE, per_stage=dict(reduction=[16, 32]))

# By name: whether the backbone trains, its blocks, and whether it checkpoints its activations.
WAYS: dict[str, tuple[bool, Optional[dict[str, Any]], bool]] = {
    'frozen': (False, None, False),
    'frozen, SE': (False, SE, False),
    'frozen, adapters': (False, ADAPTER, False),
    'frozen, SE after stages 3 and 4': (False, LATE_SE, False),
    'frozen, adapters after stages 3 and 4': (False, dict(ADAPTER, stages=LATE), False),
    'frozen, adapters, with_cp': (False, ADAPTER, True),
    'full': (True, None, False),
    'full, SE': (True, SE, False),
}
BASE = 'frozen'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=384, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=7, help='timed steps of each way')
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--frozen-stages', type=int, default=-1, help='-1: all of it trains; mmdet: 1'
    )
    parser.add_argument('--out', type=Path, help='JSON file for the figures')
    return parser.parse_args()


class Steps:
    """A detector, an optimizer and a batch for one of the ways."""

    def __init__(self, way: str, args: argparse.Namespace) -> None:
        import mmdet
        from mmengine.config import Config
        from mmengine.registry import MODELS, init_default_scope

        from mmbackbone_plugins import Freezer, StageMap
        from mmbackbone_plugins.lab import inputs, launch

        launch.register_modules()
        init_default_scope('mmdet')
        home = Path(mmdet.__file__).parent / '.mim' / 'configs'
        cfg = Config.fromfile(str(home / '_base_' / 'models' / 'retinanet_r50_fpn.py'))
        trains, blocks, with_cp = WAYS[way]
        backbone = dict(
            cfg.model.backbone, init_cfg=None, frozen_stages=args.frozen_stages, with_cp=with_cp
        )
        cfg.model.backbone = backbone
        if blocks:
            cfg.model.backbone = dict(type='StageBlockBackbone', backbone=backbone, **blocks)
        torch.manual_seed(0)
        self.model = MODELS.build(cfg.model).to(args.device)
        cfg.train_dataloader = dict(dataset=dict())
        self.batch = inputs.draw_batch(cfg, self.model, (args.size, args.size), args.batch)
        # A learning rate of zero: the steps cost what they cost and the work never drifts.
        options = dict(lr=0.0, momentum=0.9, weight_decay=1e-4)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **options)
        stages = StageMap.of(self.model)
        self.freezer = Freezer(self.model, stages)
        self.freezer.apply([s.name for s in stages if trains or s.is_block])
        self.model.train()
        self.blocks = sum(
            p.numel() for n, p in self.model.named_parameters() if n.startswith('backbone.blocks.')
        )
        self.device = args.device

    def flops(self) -> int:
        from mmbackbone_plugins.cost import training_flops

        return training_flops(self.model, *self.batch).total

    def step(self) -> None:
        self.freezer.apply_modes()
        loss, _ = self.model.parse_losses(self.model.loss(*self.batch))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device != 'cpu':
            torch.cuda.synchronize()


def measure(args: argparse.Namespace) -> dict:
    steps, memory, flops = {}, {}, {}
    for way in WAYS:
        steps[way] = Steps(way, args)
        steps[way].step()
        memory[way] = peak_bytes(steps[way].step, args.device)
        flops[way] = steps[way].flops()
        progress(f'prepared: {way}')
    times: dict = {way: [] for way in WAYS}
    for number in range(args.rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            times[way].append(timed(steps[way].step))
        progress(f'round {number + 1} of {args.rounds}')
    return dict(
        seconds={way: statistics.median(values) for way, values in times.items()},
        of_frozen={
            way: statistics.median(a / b for a, b in zip(times[way], times[BASE])) for way in WAYS
        },
        flops=flops,
        peak_bytes=memory,
        block_parameters={way: s.blocks for way, s in steps.items()},
    )


def report(args: argparse.Namespace, figures: dict) -> None:
    name = torch.cuda.get_device_name() if args.device != 'cpu' else platform.processor() or 'CPU'
    where = f'{os.cpu_count()} cores, {name}' if args.device == 'cpu' else name
    print(
        f'\nR50-FPN RetinaNet, {args.size} px, batch {args.batch}, {args.rounds} rounds, ', end=''
    )
    print(f'frozen_stages={args.frozen_stages}, torch {torch.__version__}, {where}\n')
    print('| step | block parameters | GFLOPs | median s | of frozen | peak MB | of frozen |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for way in WAYS:
        peak = figures['peak_bytes'][way]
        print(
            f'| {way} | {figures["block_parameters"][way]:,} | '
            f'{figures["flops"][way] / 1e9:.1f} | {figures["seconds"][way]:.3f} | '
            f'{figures["of_frozen"][way]:.3f} | {peak / 1e6:.0f} | '
            f'{peak / figures["peak_bytes"][BASE]:.3f} |'
        )


def main() -> None:
    args = parse_args()
    figures = measure(args)
    report(args, figures)
    if args.out:
        args.out.write_text(json.dumps(dict(vars(args), out=str(args.out), **figures), indent=2))


if __name__ == '__main__':
    main()
