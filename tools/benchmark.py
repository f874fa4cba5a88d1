"""Train and test methods x detectors x data sets x seeds by one plan, and report what came out.

    python tools/benchmark.py PLAN.yml --dry-run    # what it will do, and what that costs
    python tools/benchmark.py PLAN.yml              # do it; the same command goes on after a stop
    python tools/benchmark.py PLAN.yml --report     # tables and figures of what is finished
    python tools/benchmark.py PLAN.yml --repeat d/m/full/seed0  # does the seed give the same bits?

Finished runs are skipped, interrupted ones go on from their last checkpoint, failed ones are tried
again; a failure does not stop the others.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from command_line import check_positive, make_parser, run_tool  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('plan', help='YAML file of the plan')
    parser.add_argument('--work-dir', help="folder of the benchmark instead of the plan's own")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='NAME',
        help='runs to do, as dataset/detector/method/seed0 or a leading part of it; * is anything',
    )
    which.add_argument(
        '--repeat',
        nargs='+',
        metavar='NAME',
        help='finished runs to train once more, in folders of their own, and to compare bit by bit',
    )
    parser.add_argument('--dry-run', action='store_true', help='print the runs and their cost only')
    parser.add_argument('--report', action='store_true', help='write the report only')
    parser.add_argument('--check-data', action='store_true', help='check the data sets only')
    parser.add_argument('--jobs', type=int, default=1, help='runs at once (default: 1)')
    parser.add_argument('--ranks', type=int, default=1, help='processes (GPUs) of a run')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads of a process')
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help="weights and features in torch's channels_last format: faster on CPUs, other rounding",
    )
    parser.add_argument(
        '--slurm',
        choices=['print', 'submit'],
        help='print srun commands, or submit an array of jobs with submitit',
    )
    parser.add_argument('--partition', help="Slurm's partition")
    parser.add_argument('--hours', type=int, default=24, help='time limit of a Slurm job')
    args = parser.parse_args(argv)
    check_positive(parser, args, 'jobs', 'ranks', 'threads', 'hours')
    if args.slurm and not args.partition:
        parser.error('--slurm needs --partition')
    if args.slurm and args.channels_last:
        parser.error('--channels-last is for runs on this machine, and not for those of --slurm')
    return args


def report(plan) -> None:
    from mmbackbone_plugins.lab.benchmarking import RunFolder, compare_repeats, slurm
    from mmbackbone_plugins.lab.benchmarking.report import write_report

    slurm.note_ends([RunFolder.of(plan, run) for run in plan.runs], plan.work_dir)
    compare_repeats(plan)
    path = write_report(plan.work_dir, planned=plan.runs, question=plan.primary)
    print(f'report: {path}')


def check_data(plan) -> int:
    """Checks the data sets that the plan names, with the tool for one."""
    if not plan.checks:
        raise ValueError(
            f'plan {str(plan.path)!r} has no check: give a data set its format and root'
        )
    tool = str(Path(__file__).with_name('check_data.py'))
    status = 0
    for name, where in plan.checks.items():
        print(f'{name}:', flush=True)
        command = [sys.executable, tool, '--format', where['format'], where['root']]
        status = max(status, subprocess.run(command).returncode)
    return status


def work(args: argparse.Namespace) -> int:
    import torch

    from mmbackbone_plugins.lab import benchmarking, launch

    plan = benchmarking.read_plan(args.plan, args.work_dir)
    if args.repeat:
        folders = benchmarking.repeats(plan, args.repeat)
    else:
        folders = [benchmarking.RunFolder.of(plan, run) for run in plan.only(args.only)]
    if args.report:
        report(plan)
        return 0
    if args.check_data:
        return check_data(plan)
    if args.dry_run:
        found = benchmarking.forecast([f.run for f in folders], lambda t: print(t, file=sys.stderr))
        print(benchmarking.plan_table(folders, found))
        return 0
    plan.keep()
    benchmarking.prepare(plan.prepare)
    launch.register_modules()
    for folder in folders:
        folder.check()
        if folder.state != 'finished':
            folder.check_data()
    if args.slurm == 'print':
        for folder in folders:
            folder.make_ready()
        print('\n'.join(benchmarking.slurm.commands(folders, args.partition, args.ranks)))
        return 0
    if args.slurm == 'submit':
        ids = benchmarking.slurm.submit(
            folders, plan.work_dir, args.partition, args.ranks, args.hours, args.jobs
        )
        print(f'submitted {len(ids)} jobs: {", ".join(ids)}')
        return 0
    gpus = torch.cuda.device_count()
    local = benchmarking.Local(args.jobs, gpus, args.ranks, args.threads, args.channels_last)
    queue = benchmarking.Queue(folders, local, say=lambda text: print(text, flush=True))
    left = queue.run()
    report(plan)
    for name in queue.failed:
        print(f'failed: {name}', file=sys.stderr)
    if plan.choice and not left and not args.repeat:
        print(f'chosen settings: {benchmarking.write_choice(plan)}')
    return 1 if left else 0


def main(argv=None) -> int:
    try:
        return run_tool(work, parse_args(argv))
    except RuntimeError as error:  # of a command that prepares
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


# The guard matters: process pools of metrics spawn, and would run this file again.
if __name__ == '__main__':
    sys.exit(main())
