"""What keeping the record costs: TrainingCostHook, and RandomStateHook, against a training step.

    python benchmarks/cost_overhead.py                  # R50-FPN RetinaNet, 384 px, batch 2
    python benchmarks/cost_overhead.py --detector faster-rcnn
    python benchmarks/cost_overhead.py --device cuda --size 1024

The hook's own methods are timed, those that run at every step and what it puts around a step,
with its files and scalars; on a GPU it also asks the allocator for its peak there. Whole steps
with the hook alternate with those without, and a step that is counted with the same step uncounted.
RandomStateHook is timed by itself, with the reading of its batch in the same process.
"""

import statistics
import sys
import tempfile
from types import SimpleNamespace

import torch
from common import DETECTORS, alternate, build, clock, draw, make_parser, ratio, report


def running_hook(cfg, model, wrapper, work_dir: str):
    """The hook in the middle of a run, and the runner it sees."""
    from mmengine.logging import MessageHub

    from mmbackbone_plugins import TrainingCostHook

    hook = TrainingCostHook()
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        cfg=cfg,
        hooks=[hook],
        iter=0,
        epoch=0,
        work_dir=work_dir,
        message_hub=MessageHub.get_instance('cost_overhead'),
        _resume=False,
    )
    hook.before_run(runner)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    return hook, runner


def seconds_per_step(hook, runner, data, calls: int) -> float:
    """Seconds of the hook alone, a step: all it does but the step itself."""
    shape = dict(inputs=torch.empty(len(data['inputs']), 3, *data['inputs'][0].shape[-2:]))
    watch, total = hook._run.watch, 0.0
    for _ in range(calls):
        start = clock('cpu')
        hook.before_train_iter(runner, 0, data)
        watch.begin_step()
        watch.saw_inputs(shape)
        watch.end_count()
        hook.after_train_iter(runner, 0, data)
        total += clock('cpu') - start
        runner.iter += 1
    return total / calls


def random_seconds_per_step(batch: int, calls: int) -> float:
    """Seconds that RandomStateHook adds to a step and to reading its samples, which are nothing."""
    from mmengine.runner import EpochBasedTrainLoop

    from mmbackbone_plugins import RandomStateHook

    loader = torch.utils.data.DataLoader(range(batch * calls), batch)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(seed=0, epoch=0, iter=0, train_loop=loop, train_dataloader=loader)

    def epoch(hooks) -> float:
        start, runner.hooks = clock('cpu'), hooks
        for hook in hooks:
            hook.before_train(runner)
            hook.before_train_epoch(runner)
        for number, _ in enumerate(loader):
            for hook in hooks:
                hook.before_train_iter(runner, number)
        for hook in hooks:
            hook.after_train(runner)
        return clock('cpu') - start

    return statistics.median(epoch([RandomStateHook()]) - epoch([]) for _ in range(5)) / calls


def main() -> int:
    parser = make_parser(__doc__, rounds=9)
    parser.add_argument('--detector', choices=DETECTORS, default='retinanet')
    parser.add_argument('--calls', type=int, default=400, help='steps over which the hook is timed')
    args = parser.parse_args()
    from mmbackbone_plugins.cost import OperatorCounter
    from mmbackbone_plugins.hooks.full_reference import count_full_step

    cfg, model, wrapper = build(args.device, args.detector, frozen_stages=1, amp=args.amp)
    data = draw(args.size, args.batch, args.device)

    def step():
        model.train_step(data, wrapper)

    def counted():
        with OperatorCounter():
            step()

    seconds = alternate(dict(step=step, counted=counted), args.rounds, args.device)
    plain = statistics.median(seconds['step'])
    with tempfile.TemporaryDirectory() as folder:
        hook, runner = running_hook(cfg, model, wrapper, folder)
        hook.before_train_iter(runner, 0, data)
        runner.model.train_step(data, wrapper)  # the step that is counted
        hook.after_train_iter(runner, 0, data)
        runner.iter += 1
        own = statistics.median(seconds_per_step(hook, runner, data, args.calls) for _ in range(5))

        def hooked():
            hook.before_train_iter(runner, 0, data)
            runner.model.train_step(data, wrapper)
            hook.after_train_iter(runner, 0, data)
            runner.iter += 1

        plainly = type(model).train_step  # the hook has wrapped the instance's
        row = 1 if args.device == 'cpu' else 4
        whole = alternate(
            dict(step=lambda: plainly(model, data, wrapper), hooked=hooked),
            args.rounds,
            args.device,
            row=row,
        )
        allowed = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        full = alternate(
            dict(count=lambda: count_full_step(runner, model, data, allowed)), 3, args.device
        )['count']
        hook.after_train(runner)
    own_random = random_seconds_per_step(args.batch, args.calls)
    figures = dict(
        parameters=sum(1 for _ in model.parameters()),
        step_ms=1e3 * plain,
        hook_us=1e6 * own,
        hook_of_a_step=own / plain,
        random_us=1e6 * own_random,
        random_of_a_step=own_random / plain,
        counted_step_of_a_step=ratio(seconds, 'counted', 'step'),
        hooked_step_of_a_step=ratio(whole, 'hooked', 'step'),
        steps_in_a_row=row,
        full_fine_tuning_of_a_step=statistics.median(full) / plain,
    )
    report(args, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
