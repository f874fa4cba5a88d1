"""Checks on a machine's own GPUs and network that every method is right in several processes.

torchrun --nproc_per_node 8 tools/misc/check_distributed.py

NCCL where there are GPUs, gloo on a CPU. A tiny oriented detector trains for a few steps on drawn
scenes under every method, through tools/train.py's own path; one line each says PASS or FAIL. The
exit status is 1 if any failed. Takes a minute or two; needs no data set and no network. On several
nodes --work-dir must be on a disk that all of them share.
"""

import argparse
import hashlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Optional

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import make_parser  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
RETINA = 'rotated-retinanet-rbox-le90_r50_fpn'
ORIENTED = 'oriented-rcnn-le90_r50_fpn'
HELD = {'custom_hooks.0.interval': 1}
RHO = {'custom_hooks.0.schedule.rho': 2}
PROBE = {'custom_hooks.0.schedule': dict(type='ProbeThenFinetune', probe=1)}
COST = {'default_hooks.cost': dict(type='TrainingCostHook')}
CACHE = {'default_hooks.cache': dict(type='FeatureCacheHook', views=1)}
ALL = {'custom_hooks.0.schedule.probe': 1, **{f'custom_hooks.{i}.interval': 1 for i in (1, 2)}}

# Method: a config of the zoo, and what makes its schedule one of a few epochs.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    'dbf': (f'dbf/{RETINA}_dbf-rho10-1x_dota.py', RHO),
    'rgn': (f'rgn/{RETINA}_rgn-dbf-rho10-1x_dota.py', {**RHO, 'custom_hooks.1.interval': 1}),
    'uniform': (f'l2sp/{RETINA}_l2sp-1x_dota.py', HELD),
    'rgn-reg': (f'rgn_reg/{RETINA}_rgn-reg-1x_dota.py', HELD),
    'ewc': (f'ewc/{RETINA}_ewc-1x_dota.py', HELD),
    'fisher': (
        f'rgn_reg/{RETINA}_rgn-reg-1x_dota.py',
        {**HELD, 'custom_hooks.0.importance': 'fisher'},
    ),
    'eigen': (f'eigenspectrum/{RETINA}_eigen-1x_dota.py', {}),
    'cost': (f'dbf/{RETINA}_dbf-rho10-1x_dota.py', {**RHO, **COST}),
    'cache': (f'frozen/{RETINA}_frozen-1x_dota.py', CACHE),
    'projection': (
        f'dbf/{RETINA}_dbf-rho10-1x_dota.py',
        {**RHO, 'default_hooks.projection': dict(type='WeightProjectionHook', kind='ftp')},
    ),
    'rgn-lr': (
        f'dbf/{RETINA}_dbf-rho10-1x_dota.py',
        {
            **RHO,
            'default_hooks.rates': dict(type='RGNLearningRateHook', num_batches=1),
            'optim_wrapper.constructor': 'StageOptimWrapperConstructor',
        },
    ),
    'se': (f'se/{RETINA}_se-dp-ft-1x_dota.py', {'custom_hooks.0.schedule.probe': 1}),
    'adapter': (f'adapter/{RETINA}_adapter-1x_dota.py', PROBE),
    'combined': (f'combined/{ORIENTED}_combined-1x_dota.py', ALL),
}
AMP = 'combined-amp'  # of GPUs only


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('--methods', nargs='+', choices=[*METHODS, AMP], help='default: all')
    parser.add_argument('--work-dir', default='work_dirs/check_distributed')
    parser.add_argument('--launcher', choices=['pytorch', 'slurm', 'mpi'], default='pytorch')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def make_config(method: str, folder: Path, launcher: str):
    """A method's config of the zoo, small, for two epochs of four steps a rank."""
    from mmbackbone_plugins.lab import launch
    from mmbackbone_plugins.lab.toy.miniature import miniature

    path, changes = METHODS[method.replace('-amp', '')]
    cfg = launch.load_config(str(CONFIGS / path), launcher=launcher)
    miniature(cfg, folder / 'data')
    cfg.merge_from_dict(changes)
    cfg.train_cfg.update(max_epochs=2, val_begin=99)
    # A score costs a pool of processes; spectra need the validation images alone.
    cfg.val_evaluator = dict(type='mmdet.DumpDetResults', out_file_path=str(folder / 'boxes.pkl'))
    cfg.default_hooks.checkpoint.save_best = None
    cfg.work_dir, cfg.log_level = str(folder / method), 'ERROR'
    cfg.experiment_name = cfg.visualizer.name = f'check_{method}_{os.getpid()}'
    if method == AMP:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    # Laying out the text of a config takes longer than all of its steps.
    return launch.Config(cfg.to_dict(), format_python_code=False)


def digest(tensors: Any) -> str:
    """A hash of the bits of nested tensors."""
    import torch

    found = hashlib.sha256()

    def walk(node: Any) -> None:
        if isinstance(node, torch.Tensor):
            data = node.detach().cpu().contiguous().view(-1).view(torch.uint8)
            found.update(data.numpy().tobytes())
        elif isinstance(node, dict):
            for key in sorted(node, key=str):
                found.update(str(key).encode())
                walk(node[key])
        elif isinstance(node, (list, tuple)):
            for item in node:
                walk(item)

    walk(tensors)
    return found.hexdigest()


def make_watch():
    """A hook that counts reduced bytes, wrappers and phases, and notes seeds."""
    import torch
    from mmengine.hooks import Hook
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    def count(watch, bucket):
        watch.reduced[-1] += bucket.buffer().nbytes
        return allreduce_hook(None, bucket)

    class Watch(Hook):
        priority = 'LOW'  # after the wrapper is built anew at the start; later ones keep the count

        def before_train(self, runner) -> None:
            self.reduced: list[int] = []
            self.expected: list[int] = []
            self.wrappers: list[Any] = []
            self.seeds: list[int] = []
            runner.model.register_comm_hook(self, count)

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            trains = [p for p in runner.model.module.parameters() if p.requires_grad]
            self.expected.append(sum(p.numel() * p.element_size() for p in trains))
            self.reduced.append(0)
            if not self.wrappers or self.wrappers[-1] is not runner.model:
                self.wrappers.append(runner.model)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.seeds.append(torch.initial_seed())

        def phases(self) -> int:
            pairs = zip(self.expected, self.expected[1:])
            return 1 + sum(before != after for before, after in pairs)

    return Watch()


def check(method: str, folder: Path, launcher: str) -> list[str]:
    """Trains under a method; what is wrong, of all ranks."""
    import torch
    from mmengine.dist import all_gather_object

    from mmbackbone_plugins.lab import launch

    watch, wrong = make_watch(), []
    runner: Any = None
    try:
        cfg = make_config(method, folder, launcher)
        launch.start_processes(cfg)
        runner = launch.build_runner(cfg)
        runner.register_hook(watch)
        runner.train()
    except Exception:
        # Another rank may wait for this one for ever: the job must end here.
        traceback.print_exc()
        print(f'FAIL {method}: see the error above', flush=True)
        os._exit(1)
    state = dict(
        weights=digest(runner.model.module.state_dict()),
        optimizer=digest(runner.optim_wrapper.optimizer.state_dict()['state']),
    )
    for hook in runner.hooks:
        name = type(hook).__name__
        if name == 'DistortionRegularizerHook':
            state['anchor'] = digest(hook.anchor.tensors)
            state['importance'] = digest(hook._estimated and hook._estimated.tensors)
        if name == 'EigenspectrumHook':
            moments = hook.measure(runner)
            state['spectra'] = digest({n: m.state_dict() for n, m in moments.items()})
    if not all(torch.isfinite(p).all() for p in runner.model.module.parameters()):
        wrong.append('weights are not finite')
    for key, bits in state.items():
        if len(set(all_gather_object(bits))) > 1:
            wrong.append(f'{key} differ between ranks')
    if watch.reduced != watch.expected:
        pairs = enumerate(zip(watch.reduced, watch.expected))
        step, sent, trains = next((i, *pair) for i, pair in pairs if len({*pair}) > 1)
        wrong.append(f'step {step} reduced {sent:,} bytes, what trains has {trains:,}')
    if len(watch.wrappers) != watch.phases():
        wrong.append(f'{watch.phases()} phases, but {len(watch.wrappers)} distributed wrappers')
    seeds = [seed for of_rank in all_gather_object(watch.seeds) for seed in of_rank]
    if len(set(seeds)) < len(seeds):  # RandomStateHook is in all configs
        wrong.append('two steps, or two ranks, draw the same random numbers')
    runner.visualizer.close()
    return sorted({text for texts in all_gather_object(wrong) for text in texts})


def main() -> int:
    args = parse_args()
    import logging
    import warnings

    import torch
    from mmengine.dist import barrier, broadcast_object_list, get_rank, get_world_size, init_dist

    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    cuda = torch.cuda.is_available()
    try:
        from mmbackbone_plugins.lab import console, launch
        from mmbackbone_plugins.lab.toy import make_toy_dataset

        console.adapt()
        launch.start_processes(launch.Config(dict(launcher=args.launcher)))
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    if not torch.distributed.is_initialized():
        init_dist(args.launcher)
    start = [time.strftime('%Y%m%d_%H%M%S')]  # a folder of its own: nothing is read from before
    broadcast_object_list(start)
    folder = Path(args.work_dir) / start[0]
    if get_rank() == 0:
        counts = dict(train=4 * get_world_size(), val=4, test=1)
        settings = dict(fmt='dota', counts=counts, size=128, classes='all', density=24)
        make_toy_dataset(folder / 'data', **settings)
        device = torch.cuda.get_device_name() if cuda else 'CPU'
        print(
            f'{get_world_size()} ranks, {torch.distributed.get_backend()}, {device}, torch '
            f'{torch.__version__}',
            flush=True,
        )
    barrier()
    failed = 0
    for method in args.methods or [*METHODS, AMP]:
        if method == AMP and not cuda:
            if get_rank() == 0:
                print(f'SKIP {method}: needs a GPU', flush=True)
            continue
        wrong = check(method, folder, args.launcher)
        failed += bool(wrong)
        if get_rank() == 0:
            print(f'FAIL {method}: {"; ".join(wrong)}' if wrong else f'PASS {method}', flush=True)
    torch.distributed.destroy_process_group()
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
