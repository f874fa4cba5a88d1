"""Keeps the probed detector: the weights when the target of a schedule begins to train."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import weights_to_cpu

from ..cost.naming import first_training
from ..freezing.phases import Phase
from ..freezing.plan import FreezePlan
from ..utils.files import atomic_write
from ..utils.wrappers import unwrap

PROBED = 'probed.pth'


def end_of_probing(plan: FreezePlan, phases: Sequence[Phase]) -> int:
    """When the target begins to train, in the schedule's unit; a ValueError if nothing probes."""
    begins = first_training(phases, plan.ruled)
    if not begins:
        when = 'never trains the target' if begins is None else 'trains the target from the start'
        raise ValueError(
            f'keep_probed=True: {plan.schedule!r} {when}, so that there is no end of probing; use '
            "a schedule such as dict(type='ProbeThenFinetune', probe=4)"
        )
    return begins


def keep_probed(runner) -> None:
    """Writes ``probed.pth``, a checkpoint of the weights now, or of an EMA's if there is one."""
    if not is_main_process():
        return
    checkpoint: dict[str, Any] = dict(
        meta=dict(epoch=runner.epoch, iter=runner.iter, cfg=runner.cfg.pretty_text),
        state_dict=weights_to_cpu(unwrap(runner.model).state_dict()),
    )
    if hasattr(runner.train_dataloader.dataset, 'metainfo'):
        checkpoint['meta']['dataset_meta'] = runner.train_dataloader.dataset.metainfo
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            hook.before_save_checkpoint(runner, checkpoint)
            del checkpoint['ema_state_dict']  # has the live weights by now
    path = Path(runner.work_dir) / PROBED
    with atomic_write(path, 'wb') as file:
        torch.save(checkpoint, file)
    print_log(f'FreezingSchedulerHook: the probed weights are kept in {path}', logger='current')
