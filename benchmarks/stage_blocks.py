"""What blocks after the stages of a frozen backbone cost in a training step: time and memory.

    python benchmarks/stage_blocks.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/stage_blocks.py --device cuda --size 1024

A frozen backbone builds no graph. With a block that trains after its first stage, the stages behind
it stay frozen, but the gradient goes through them, so they keep graph and activations. The variants
run in turn in one process; a ratio of times is the median over rounds of neighbouring steps. FLOPs
and memory are counted.
"""

import argparse
import statistics
from typing import Any, Optional

from common import (
    alternate,
    build,
    make_parser,
    progress,
    ratio,
    report,
    table,
    train_step,
)

from mmbackbone_plugins.lab.fitting import peak_bytes

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


class Steps:
    """A detector, an optimizer and a batch for one of the ways."""

    def __init__(self, way: str, args: argparse.Namespace) -> None:
        from mmbackbone_plugins import Freezer, StageMap
        from mmbackbone_plugins.lab import inputs

        trains, blocks, with_cp = WAYS[way]
        settings = dict(frozen_stages=args.frozen_stages, blocks=blocks, with_cp=with_cp)
        cfg, self.model, self.wrapper = build(args.device, **settings, amp=args.amp)
        self.batch = inputs.draw_batch(cfg, self.model, (args.size, args.size), args.batch)
        stages = StageMap.of(self.model)
        self.freezer = Freezer(self.model, stages)
        self.freezer.apply([s.name for s in stages if trains or s.is_block])
        self.model.train()
        self.blocks = sum(
            p.numel() for n, p in self.model.named_parameters() if n.startswith('backbone.blocks.')
        )

    def flops(self) -> int:
        from mmbackbone_plugins.cost import training_flops

        return training_flops(self.model, *self.batch).total

    def step(self) -> None:
        self.freezer.apply_modes()
        train_step(self.model, self.batch, self.wrapper)


def measure(args: argparse.Namespace) -> dict:
    steps, memory, flops = {}, {}, {}
    for way in WAYS:
        steps[way] = Steps(way, args)
        for _ in range(2):  # a first step may allocate what stays
            steps[way].step()
        memory[way] = peak_bytes(steps[way].step, args.device)
        flops[way] = steps[way].flops()
        progress(f'prepared: {way}')
    times = alternate({way: s.step for way, s in steps.items()}, args.rounds, args.device)
    return dict(
        seconds={way: statistics.median(values) for way, values in times.items()},
        of_frozen={way: ratio(times, way, BASE) for way in WAYS},
        flops=flops,
        peak_bytes=memory,
        block_parameters={way: s.blocks for way, s in steps.items()},
    )


def show(figures: dict) -> None:
    rows = []
    for way in WAYS:
        peak = figures['peak_bytes'][way]
        rows.append(
            (
                way,
                f'{figures["block_parameters"][way]:,}',
                f'{figures["flops"][way] / 1e9:.1f}',
                f'{figures["seconds"][way]:.3f}',
                f'{figures["of_frozen"][way]:.3f}',
                f'{peak / 1e6:.0f}',
                f'{peak / figures["peak_bytes"][BASE]:.3f}',
            )
        )
    columns = 'step, block parameters, GFLOPs, median s, of frozen, peak MB, of frozen'
    table(columns.split(', '), rows)


def main() -> None:
    args = make_parser(__doc__, rounds=7, frozen_stages=True).parse_args()
    report(args, measure(args), show)


if __name__ == '__main__':
    main()
