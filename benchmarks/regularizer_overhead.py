"""What holding the backbone back costs: penalties and projections against a training step.

    python benchmarks/regularizer_overhead.py          # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/regularizer_overhead.py --device cuda --size 1024 --amp

The work is timed by itself and inside whole steps, see rgn_overhead.py. All variants alternate in
one process; a ratio is the median over rounds of neighbouring runs.
"""

import statistics
import sys

import torch
from common import alternate, backward, build, draw, inside_steps, make_parser, report

from mmbackbone_plugins.lab.fitting import peak_bytes


def plain_loop(parameters, anchor, coeff: float) -> None:
    """The update as one would write it first: it allocates two tensors a parameter."""
    for name, p in parameters.items():
        p.grad = p.grad + coeff * (p.detach() - anchor[name])


def nbytes(tensors) -> int:
    return sum(t.nbytes for t in tensors)


def main() -> int:
    args = make_parser(__doc__, rounds=11).parse_args()
    from mmbackbone_plugins import StageMap, estimate_importance
    from mmbackbone_plugins.distortion import Anchor, Penalty
    from mmbackbone_plugins.distortion.projection import projection_kinds
    from mmbackbone_plugins.hooks.gradient_tap import GradientListener

    class Add(GradientListener):
        def __init__(self, penalty) -> None:
            self.penalty = penalty

        def on_step(self, wrapper, scale):
            self.penalty.add(1e-4, scale)

    class Project(GradientListener):
        def __init__(self, rule) -> None:
            self.rule, self.armed = rule, False

        def on_step(self, wrapper, scale):
            self.rule.before(scale)
            self.armed = True

        def after_step(self, wrapper, skipped):
            if self.armed:
                self.rule.after(skipped if isinstance(skipped, torch.Tensor) else None)
            self.armed = False

    _, model, wrapper = build(args.device, amp=args.amp)
    named = dict(model.named_parameters())
    parameters = {name: named[name] for name in StageMap.of(model).parameters}
    data = draw(args.size, args.batch, args.device)
    anchor = Anchor.of(model, parameters).tensors
    importance = {
        kind: estimate_importance(model, [data], kind) for kind in ('rgn', 'ewc', 'fisher')
    }
    penalties = dict(uniform=Penalty(parameters, anchor, None, 0.1))
    for kind, found in importance.items():
        penalties[kind] = Penalty(parameters, anchor, found, 0.1)
    rules = {kind: make(parameters, anchor, 1.0) for kind, make in projection_kinds().items()}
    listeners: dict = {f'penalty {k}': Add(penalties[k]) for k in ('uniform', 'rgn')}
    listeners.update({f'{kind} projection': Project(rule) for kind, rule in rules.items()})
    listeners = {name: (listener, lambda: None) for name, listener in listeners.items()}
    whole = inside_steps(lambda: model.train_step(data, wrapper), wrapper, listeners, args)
    step = whole['milliseconds']['without'] / 1e3

    backward(model, data, wrapper)
    rate, tight = 1e-4, 1e4  # a limit that nothing reaches, and one that clips
    variants = {kind: lambda p=p: p.add(rate) for kind, p in penalties.items()}
    variants['rgn, clipped'] = lambda: penalties['rgn'].add(tight)
    variants['ewc, clipped'] = lambda: penalties['ewc'].add(tight)
    variants['rgn, measured'] = lambda: penalties['rgn'].measure(rate)
    variants['plain loop, uniform'] = lambda: plain_loop(parameters, anchor, 0.1)
    for kind, rule in rules.items():
        variants[f'{kind} projection'] = lambda rule=rule: (rule.before(), rule.after())
    seconds = alternate(variants, max(args.rounds, 15), args.device)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    size = nbytes(parameters.values())
    figures = dict(
        step_ms=1e3 * step,
        whole_steps=whole,
        milliseconds={name: 1e3 * value for name, value in medians.items()},
        of_a_step={name: value / step for name, value in medians.items()},
        memory_over_backbone=dict(
            theta0=nbytes(anchor.values()) / size,
            **{kind: nbytes(found.values()) / size for kind, found in importance.items()},
            buffer=nbytes([max(parameters.values(), key=torch.numel)]) / size,
            rgn_step_peak=peak_bytes(lambda: penalties['rgn'].add(rate), args.device) / size,
            plain_loop_peak=peak_bytes(variants['plain loop, uniform'], args.device) / size,
        ),
    )
    report(args, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
