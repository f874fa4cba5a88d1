"""One process of a run that a test starts: trains what its argument says, saves what it saw."""

import json
import os
import sys
from pathlib import Path

import rig
import torch

from mmbackbone_plugins.lab import launch


def main() -> None:
    options = json.loads(sys.argv[1])
    rank = int(os.environ.get('RANK', 0))
    if 'WORLD_SIZE' in os.environ:
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
    torch.save(seen, Path(options['work_dir']) / f'record_{rank}.pt')


if __name__ == '__main__':
    main()
