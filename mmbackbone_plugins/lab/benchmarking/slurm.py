"""Runs as jobs of a Slurm cluster: printed, or submitted with submitit."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .folder import RunFolder
from .queue import Local, how_it_ended, last_lines

JOB = 'job.txt'  # in a run's folder: the job that is, or was, at it
LOGS = 'slurm'
# What Slurm writes into a job's log when it ends it: the only trace where everything was killed.
_ENDED = re.compile(r'^(?:slurmstepd|srun): .*(?:CANCELLED|DUE TO|out of memory|oom)', re.I)


def commands(folders: Sequence[RunFolder], partition: str, gpus: int) -> list[str]:
    """One ``srun`` line per run that is not finished, to be run from the same folder."""
    lines = []
    for folder in (f for f in folders if f.state != 'finished'):
        # One task that starts its own processes: torchrun's environment is the same everywhere.
        words = ['srun', f'--partition={partition}', f'--job-name={folder.run.name}', '--ntasks=1']
        lines.append(shlex.join([*words, f'--gres=gpu:{gpus}', *_command(folder.path, gpus)]))
    return lines


def submit(
    folders: Sequence[RunFolder],
    work_dir: Path,
    partition: str,
    gpus: int,
    hours: int,
    at_once: int,
) -> list[str]:
    """Submits an array of jobs, one per run that is not finished, for ``hours`` each.

    A job that Slurm stops at its time limit is requeued by submitit and goes on from its last
    checkpoint. Logs of the jobs go into ``slurm`` in the work dir.

    Raises:
        ImportError: If submitit is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise ImportError(
            '--slurm submit needs submitit (pip install submitit); --slurm print needs nothing'
        ) from None
    executor = submitit.AutoExecutor(folder=str(work_dir / LOGS))
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
        (folder.path / JOB).unlink(missing_ok=True)
    jobs = executor.map_array(Job(gpus), [str(f.path.resolve()) for f in waiting])
    return [job.job_id for job in jobs]


def note_ends(folders: Sequence[RunFolder], work_dir: Path) -> None:
    """Writes down why runs failed whose job was ended with all of its processes."""
    for folder in folders:
        job = folder.path / JOB
        if folder.state not in ('new', 'begun') or not job.is_file() or folder.busy:
            continue
        logs = sorted((work_dir / LOGS).glob(f'{job.read_text(encoding="utf-8")}_*_log.err'))
        ends = [line for log in logs for line in last_lines(log, 100) if _ENDED.search(line)]
        if ends and 'REQUEUE' not in ends[-1]:  # then it waits for its turn
            folder.fail(ends[-1])


class Job:
    """What a job does; submitit pickles it, and asks it what to do after a time limit."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus

    def __call__(self, folder: str) -> None:
        """Does a run, in processes of its own; writes down what they could not."""
        job = _job_id()
        (Path(folder) / JOB).write_text(job, encoding='utf-8')
        try:
            subprocess.run(_command(Path(folder), self.gpus), check=True)
        except Exception as error:  # submitit's own as well: one that is not requeued any more
            code = getattr(error, 'returncode', None)
            run = RunFolder.read(Path(folder))
            if run.state != 'failed':
                run.fail(f'job {job}: {error if code is None else how_it_ended(code)}')
            raise

    def checkpoint(self, folder: str):
        """The same again: a run goes on from its last checkpoint by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder)


def _job_id() -> str:
    """The id that submitit gives a job, and its logs."""
    array = os.environ.get('SLURM_ARRAY_JOB_ID')
    if array:
        return f'{array}_{os.environ["SLURM_ARRAY_TASK_ID"]}'
    return os.environ.get('SLURM_JOB_ID', '')


def _command(folder: Path, gpus: int) -> list[str]:
    return Local(ranks=max(gpus, 1)).command(folder)
