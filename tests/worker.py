"""One process of a run that a test starts: trains what it is told, saves what it saw."""

import json
import os
from pathlib import Path
from typing import Any

import rig
import torch

from mmbackbone_plugins.lab import launch

rig.detector()  # imports what detectors are made of, once for all that are forked from here


def main(asked: str, env: dict[str, Any], output: Path) -> None:
    with open(output, 'w') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update({key: str(value) for key, value in env.items()})
    options = json.loads(asked)
    if env:
        cfg = launch.Config(dict(launcher='pytorch'))
        launch.start_processes(cfg)
        wrapper = dict(cfg.model_wrapper_cfg, **options.pop('ddp', {}))
        options.update(launcher='pytorch', model_wrapper_cfg=wrapper)
    torch.set_num_threads(1)
    runner = rig.runner(**options)
    runner.train()
    record = rig.recorder(runner)
    seen = dict(states=record.states, losses=record.losses, trains=record.trains)
    for hook in runner.hooks:
        if isinstance(hook, rig.CommunicatedBytes):
            seen['bytes'] = hook.per_iter
    torch.save(seen, Path(options['work_dir']) / f'record_{env.get("RANK", 0)}.pt')
