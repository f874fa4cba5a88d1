"""Runs as jobs of a Slurm cluster: printed, or submitted with submitit."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .folder import RunFolder
from .queue import Local


def commands(folders: Sequence[RunFolder], partition: str, gpus: int) -> list[str]:
    """One ``srun`` line per run that is not finished, to be run from the same folder.

    Args:
        folders: The runs.
        partition: Partition of the cluster.
        gpus: GPUs, and processes, of a run.

    Returns:
        The lines.
    """
    lines = []
    for folder in (f for f in folders if f.state != 'finished'):
        # One task that starts its own processes: torchrun's environment is the same everywhere.
        words = ['srun', f'--partition={partition}', f'--job-name={folder.run.name}', '--ntasks=1']
        words += [f'--gres=gpu:{gpus}', *_command(folder.path, gpus)]
        lines.append(shlex.join(words))
    return lines


def submit(
    folders: Sequence[RunFolder],
    work_dir: Path,
    partition: str,
    gpus: int,
    hours: int,
    at_once: int,
) -> list[str]:
    """Submits an array of jobs, one per run that is not finished.

    A job that Slurm stops at its time limit is requeued by submitit and goes on from its last
    checkpoint.

    Args:
        folders: The runs.
        work_dir: Folder of the benchmark; logs of the jobs go into ``slurm`` there.
        partition: Partition of the cluster.
        gpus: GPUs of a run.
        hours: Time limit of a job.
        at_once: Jobs that run at once.

    Returns:
        Ids of the jobs.

    Raises:
        ImportError: If submitit is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise ImportError(
            '--slurm submit needs submitit (pip install submitit); --slurm print needs nothing'
        ) from None
    executor = submitit.AutoExecutor(folder=str(work_dir / 'slurm'))
    executor.update_parameters(
        name=work_dir.name,
        timeout_min=60 * hours,
        gpus_per_node=gpus,
        tasks_per_node=1,
        slurm_partition=partition,
        slurm_array_parallelism=at_once,
    )
    waiting = [f for f in folders if f.state != 'finished']
    for folder in waiting:
        folder.make_ready()
        folder.reopen()
    jobs = executor.map_array(Job(gpus), [str(f.path.resolve()) for f in waiting])
    return [job.job_id for job in jobs]


class Job:
    """What a job does; submitit pickles it, and asks it what to do after a time limit.

    Args:
        gpus: GPUs of a run.
    """

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def __call__(self, folder: str) -> None:
        """Does a run, in processes of its own."""
        subprocess.run(_command(Path(folder), self.gpus), check=True)

    def checkpoint(self, folder: str):
        """The same again: a run goes on from its last checkpoint by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def _command(folder: Path, gpus: int) -> list[str]:
    return Local(ranks=max(gpus, 1)).command(folder)
