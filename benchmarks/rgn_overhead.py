"""What measuring costs: RGN and drift against a training step, and against plain loops.

    python benchmarks/rgn_overhead.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/rgn_overhead.py --device cuda --size 1024 --amp

The work is timed by itself and inside whole steps: on a GPU reading the numbers makes the host
wait, which only whole steps show; on a CPU they are noisier than the work is long. All variants
alternate in one process; a ratio is the median over rounds of neighbouring runs.
"""

import statistics
import sys

import torch
from common import (
    alternate,
    backward,
    build,
    draw,
    inside_steps,
    make_parser,
    ratio,
    report,
)

from mmbackbone_plugins.lab.fitting import peak_bytes


def float32_loop(parameters) -> dict[str, float]:
    """A plain loop with float32 norms; numbers stay on the device until its end."""
    found = {n: p.grad.norm() / (p.detach().norm() + 1e-8) for n, p in parameters}
    return dict(zip(found, torch.stack(list(found.values())).tolist()))


def item_loop(parameters) -> dict[str, float]:
    return {n: (p.grad.norm() / (p.detach().norm() + 1e-8)).item() for n, p in parameters}


def main() -> int:
    args = make_parser(__doc__, rounds=11).parse_args()
    from mmbackbone_plugins import StageMap, relative_gradient_norm
    from mmbackbone_plugins.distortion import Anchor, weight_drift
    from mmbackbone_plugins.distortion.passes import gradient_passes
    from mmbackbone_plugins.distortion.rgn import measure, read
    from mmbackbone_plugins.distortion.table import RGNTable
    from mmbackbone_plugins.hooks.gradient_tap import GradientListener

    _, model, wrapper = build(args.device, amp=args.amp)
    stages = StageMap.of(model)
    named = dict(model.named_parameters())
    parameters = {name: named[name] for name in stages.parameters}
    pairs = list(parameters.items())
    data = draw(args.size, args.batch, args.device)

    def tabulate(found):  # what RGNHook does at a measured step, writing the file aside
        RGNTable.of(read([found])[0], stages).to_dict()

    class Watch(GradientListener):
        def __init__(self, granularity: str) -> None:
            self.granularity = granularity

        def on_gradients(self, wrapper, scale):
            self.found = measure(parameters, self.granularity, scale=scale)

        def after(self):
            tabulate(self.found)

    watches = {f'RGN {kind}': Watch(kind) for kind in ('tensor', 'kernel')}
    listeners = {name: (watch, watch.after) for name, watch in watches.items()}
    whole = inside_steps(lambda: model.train_step(data, wrapper), wrapper, listeners, args)
    step_seconds = whole['milliseconds']['without'] / 1e3

    backward(model, data, wrapper)

    def passes():  # what RGNLearningRateHook does once an epoch, but for loading five batches
        for _ in gradient_passes(model, [data] * 5):
            measure(parameters).read()

    seconds = alternate(
        {
            'tensor': lambda: relative_gradient_norm(pairs, 'tensor'),
            'kernel': lambda: relative_gradient_norm(pairs, 'kernel'),
            'hook': lambda: tabulate(measure(parameters)),
            'float32 loop': lambda: float32_loop(pairs),
            'item loop': lambda: item_loop(pairs),
        },
        max(args.rounds, 21),
        args.device,
    )
    anchor = Anchor.of(model, stages.parameters, 'cpu')
    groups = {s.name: s.parameters for s in stages}
    rare = alternate(
        dict(drift=lambda: weight_drift(named, anchor.tensors, groups), passes=passes),
        5,
        args.device,
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    size = sum(p.nbytes for p in parameters.values())
    figures = dict(
        step_ms=1e3 * step_seconds,
        whole_steps=whole,
        milliseconds={name: 1e3 * value for name, value in medians.items()},
        of_a_step={
            'every iteration': medians['hook'] / step_seconds,
            'interval 50': medians['hook'] / step_seconds / 50,
            'drift of weights, once': statistics.median(rare['drift']) / step_seconds,
            'learning rates, once': statistics.median(rare['passes']) / step_seconds,
        },
        tensor_over_float32_loop=ratio(seconds, 'tensor', 'float32 loop'),
        item_loop_over_tensor=ratio(seconds, 'item loop', 'tensor'),
        peak_over_backbone={
            kind: peak_bytes(lambda k=kind: relative_gradient_norm(pairs, k), args.device) / size
            for kind in ('tensor', 'kernel')
        },
    )
    report(args, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
