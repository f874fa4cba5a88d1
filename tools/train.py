"""Train a detector: as MMDetection's and MMRotate's train.py, and in several CPU processes too.

python tools/train.py CONFIG
torchrun --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import add_cfg_options, make_parser, run_tool  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = make_parser('Train a detector')
    parser.add_argument('config', help='config file, or the name of one of the zoo')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch size over all processes',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from a checkpoint; without a path, from the latest one in the work dir',
    )
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='train from a checkpoint that does not fill the backbone all the same',
    )
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torch.distributed.launch passes it; torchrun sets the environment variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def enable_amp(cfg) -> None:
    from mmbackbone_plugins.utils.names import type_name

    kind = type_name({'type': 'OptimWrapper', **cfg.optim_wrapper})
    if kind == 'AmpOptimWrapper':
        return
    if kind != 'OptimWrapper':
        raise ValueError(f'--amp works with optim_wrapper.type=OptimWrapper only, got {kind!r}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg) -> None:
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config'
        )
    cfg.auto_scale_lr.enable = True


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab import failures, interruption, launch, resume, weights
    from mmbackbone_plugins.lab.datasets import labels_explained

    cfg = launch.load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    resume.choose_checkpoint(cfg, args.resume)
    launch.prepare(cfg)
    ends = interruption.explained(cfg.work_dir)
    with failures.told() as told, ends as watched, labels_explained():
        runner = watched(told(launch.build_runner(cfg)))
        resume.check_ranks_agree(cfg)
        weights.check_start(runner.model, cfg, args.allow_partial)
        runner.train()


def main() -> int:
    return run_tool(work, parse_args())


# The guard matters: the process pool of DOTAMetric spawns, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
