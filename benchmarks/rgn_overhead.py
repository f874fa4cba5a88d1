"""What measuring costs: RGN and drift against a training step, and against plain loops.

    python benchmarks/rgn_overhead.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/rgn_overhead.py --device cuda --size 1024

All variants alternate in one process; a ratio is the median over rounds of neighbouring runs.
"""

import statistics
import sys

import torch
from common import allocated, alternate, build, draw, machine, make_parser, ratio, report


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

    _, model, wrapper = build(args.device)
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

    def passes():  # what RGNLearningRateHook does once an epoch, but for loading five batches
        for _ in gradient_passes(model, [data] * 5):
            measure(parameters).read()

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
    rare = alternate(
        dict(drift=lambda: weight_drift(named, anchor.tensors, groups), passes=passes),
        5,
        args.device,
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    size = sum(p.nbytes for p in parameters.values())
    figures = dict(
        **machine(args.device),
        size=args.size,
        batch=args.batch,
        step_ms=1e3 * step_seconds,
        milliseconds={name: 1e3 * value for name, value in medians.items()},
        of_a_step={
            'every iteration': medians['hook'] / step_seconds,
            'interval 50': medians['hook'] / step_seconds / 50,
            'drift of weights, once': statistics.median(rare['drift']) / step_seconds,
            'learning rates, once': statistics.median(rare['passes']) / step_seconds,
        },
        tensor_over_float32_loop=ratio(seconds, 'tensor', 'float32 loop'),
        item_loop_over_tensor=ratio(seconds, 'item loop', 'tensor'),
        allocated_over_backbone={
            kind: allocated(lambda k=kind: relative_gradient_norm(pairs, k), args.device) / size
            for kind in ('tensor', 'kernel')
        },
    )
    report(figures, args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
