"""Test a checkpoint: as MMDetection's and MMRotate's test.py, and in several CPU processes too.

python tools/test.py CONFIG CHECKPOINT [--show-dir FOLDER]
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import add_cfg_options, make_parser, run_tool  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = make_parser('Test (and evaluate) a detector')
    parser.add_argument('config', help='config file, or the name of one of the zoo')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for the evaluation metrics')
    parser.add_argument('--out', help='pickle file for the predictions')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between two windows')
    parser.add_argument('--tta', action='store_true', help='augment at test time')
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='score a checkpoint that does not fit the config all the same',
    )
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out must end with .pkl or .pickle, got {args.out!r}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def draw_predictions(cfg, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError('--show and --show-dir need default_hooks.visualization in the config')
    hook.update(draw=True)
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        hook.update(test_out_dir=args.show_dir)


def use_tta(cfg) -> None:
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        raise ValueError('--tta needs tta_model and tta_pipeline in the config')
    cfg.model = dict(**cfg.tta_model, module=cfg.model)
    from mmbackbone_plugins.utils.datasets import innermost_datasets

    for _, dataset in innermost_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.tta_pipeline


def work(args: argparse.Namespace) -> None:
    from mmbackbone_plugins.lab import failures, launch, weights
    from mmbackbone_plugins.lab.datasets import labels_explained
    from mmbackbone_plugins.utils import checkpoints

    checkpoints.check(args.checkpoint)
    cfg = launch.load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    if args.tta:
        use_tta(cfg)
    launch.prepare(cfg, ('test_dataloader',))
    with failures.told() as told, labels_explained():
        runner = told(launch.build_runner(cfg))
        weights.check_test(runner.model, args.checkpoint, args.allow_partial)
        if args.out:
            from mmdet.evaluation import DumpDetResults

            runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
        runner.test()


def main() -> int:
    return run_tool(work, parse_args())


# The guard matters: the process pool of DOTAMetric spawns, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
