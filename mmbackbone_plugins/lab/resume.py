"""Which checkpoint a run goes on from."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmengine.dist import all_gather_object, get_world_size

from ..utils import checkpoints

POINTER = 'last_checkpoint'  # mmengine's file with the name of the last checkpoint
NAMED = re.compile(r'(epoch|iter)_(\d+)\.pth')


def defect(path: Path, whole: bool = True) -> Optional[str]:
    """As :func:`.checkpoints.defect`, but a folder (of sharded ones) is not looked into."""
    return None if path.is_dir() else checkpoints.defect(path, whole)


def last_checkpoint(work_dir: str, whole: bool = True) -> tuple[Optional[str], list[str]]:
    """The checkpoint of a work dir that a run can go on from.

    That is the one that mmengine's ``last_checkpoint`` names. mmengine writes checkpoints in
    place, and the one of an epoch again when its score is the best so far: a run that is killed
    meanwhile leaves half of a file. Then it is the one before, and without a usable
    ``last_checkpoint`` the newest.

    Returns:
        The checkpoint, None if there is none to go on from and never was (a run that was killed
        while it wrote its first one has none); and what was wrong with those that were passed over.

    Raises:
        ValueError: If there are checkpoints but none of them can be loaded.
    """
    folder, pointer = Path(work_dir), Path(work_dir) / POINTER
    name = pointer.read_text(encoding='utf-8').strip() if pointer.is_file() else ''
    if checkpoints.is_address(name):
        return name, []  # in some storage: left to mmengine
    named = Path(name)
    if name and not named.exists() and (folder / named.name).exists():
        named = folder / named.name  # the work dir was moved
    wrong: list[str] = []
    for path in _candidates(folder, named if name else None):
        why = defect(path, whole)
        if why is None:
            return str(path), wrong
        wrong.append(f'{path} {why}')
    if wrong and (name or len(wrong) > 1):  # else killed in the write of its first checkpoint
        raise ValueError(
            f'--resume: no checkpoint in {work_dir!r} can be loaded: {"; ".join(wrong)}. Give '
            'another one with --resume CHECKPOINT, or start afresh without --resume in another '
            '--work-dir'
        )
    return None, wrong


def _candidates(folder: Path, named: Optional[Path]) -> Iterator[Path]:
    """The checkpoint that is named and those before it, then all others; the newest first."""
    if named is not None:
        yield named
        own = NAMED.fullmatch(named.name)
        folder = named.parent
    if not folder.is_dir():
        return
    found = [(match, p) for p in folder.iterdir() if (match := NAMED.fullmatch(p.name))]
    if named is None:
        yield from sorted((p for _, p in found), key=lambda p: p.stat().st_mtime, reverse=True)
    elif own is not None:
        before = [(int(m[2]), p) for m, p in found if m[1] == own[1] and int(m[2]) < int(own[2])]
        yield from (p for _, p in sorted(before, reverse=True))
        # One of an interruption counts iterations where the others count epochs.
        others = (p for m, p in found if m[1] != own[1])
        yield from sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)


def choose_checkpoint(cfg: Config, resume: Optional[str]) -> None:
    """Sets ``resume`` and ``load_from`` of a config, in place, as ``--resume`` asks for.

    That is ``'auto'`` for the last checkpoint of the work dir, a checkpoint, or None for what the
    config says itself. With ``'auto'`` and no checkpoint yet the run starts as it would without:
    the same command can be given again and again.

    Raises:
        FileNotFoundError: If the checkpoint that is given is not there.
        ValueError: If it, or every one of the work dir, cannot be loaded.
    """
    if resume is None and cfg.get('resume'):  # set in the config
        resume = cfg.get('load_from') or 'auto'
    if resume is None:
        return
    if resume != 'auto':
        path = Path(resume).expanduser()
        why = None if checkpoints.is_address(resume) else defect(path)
        if why is not None:
            kind = ValueError if path.exists() else FileNotFoundError
            raise kind(f'--resume: checkpoint {resume!r} {why}')
        cfg.resume, cfg.load_from = True, resume
        return
    path, wrong = last_checkpoint(cfg.work_dir)
    if wrong and rank() == 0:
        then = f'Going on from {path}' if path else 'Nothing else is there: starting anew'
        print(f'warning: {"; ".join(wrong)}. {then}', file=sys.stderr, flush=True)
    if path is not None:
        cfg.resume, cfg.load_from = True, path
    elif cfg.get('load_from') is None:
        cfg.resume = True  # mmengine says that there is nothing to resume


def check_ranks_agree(cfg: Config) -> None:
    """ValueError, on all ranks, if they go on from different checkpoints or some start afresh."""
    if get_world_size() == 1:
        return
    found = all_gather_object(cfg.get('load_from') if cfg.get('resume') else None)
    other = next((r for r, path in enumerate(found) if path != found[0]), None)
    if other is not None:
        raise ValueError(
            f'--resume: rank 0 goes on from {found[0]}, rank {other} from {found[other]}; the work '
            f'dir {cfg.work_dir!r} must be on a disk that all nodes share'
        )


def rank() -> int:
    """Of this process, before there is a process group too."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')))
