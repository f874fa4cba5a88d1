"""Zoo configs of every method, small enough for ranks on a CPU, and how they are started."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import rig
import zoo
from mmengine.config import Config

from mmbackbone_plugins.lab.toy.miniature import miniature

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
tool = rig.load_tool('misc/check_distributed')
METHODS: dict[str, tuple[str, dict[str, Any]]] = tool.METHODS


def zoo_config(method: str) -> Config:
    """The config of the zoo that stands for a method."""
    return zoo.load(Path(METHODS[method][0]).stem)


def write_config(
    folder: Path, method: str, data_root: Path, hooks: tuple = (), **options: Any
) -> Path:
    """Writes the config file of a method; ``hooks`` are added to its own."""
    cfg = miniature(zoo_config(method), data_root)
    cfg.val_evaluator = dict(type='CountMetric')  # DOTAMetric starts a pool at every validation
    cfg.default_hooks.checkpoint.save_best = 'count'
    cfg.param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[3], gamma=0.1)]
    cfg.custom_imports.imports = ['mmbackbone_plugins', 'rig', 'ranks']
    cfg.merge_from_dict({**METHODS[method][1], **options})
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    cfg.visualizer.name = f'{folder.name}-{method}'  # one of its own: they are global by name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{method}.py'
    Config(cfg.to_dict(), format_python_code=False).dump(path)
    return path


def environment() -> dict[str, str]:
    folders = [ROOT, HERE.parent, HERE]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders)), OMP_NUM_THREADS='1')


def command(ranks: int, script: Path, *arguments: Any) -> list[str]:
    """The command line that a user would type, with a free port."""
    torchrun = ['-m', 'torch.distributed.run', f'--nproc_per_node={ranks}']
    torchrun += [f'--master_port={rig.free_port()}']
    start = [sys.executable, *torchrun] if ranks > 1 else [sys.executable]
    return [*start, str(script), *map(str, arguments)]


def train(ranks: int, *arguments: Any, check: bool = True) -> subprocess.CompletedProcess:
    """Runs ``tools/train.py`` under torchrun, or by itself for one process."""
    launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
    script = ROOT / 'tools' / 'train.py'
    done = subprocess.run(
        command(ranks, script, *arguments, *launcher),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert not check or done.returncode == 0, done.stdout[-5000:]
    return done


def train_many(ranks: int, jobs: list[list[Any]], timeout: float = 900) -> None:
    """Runs ``tools/train.py`` once for each list of arguments, in one group of processes.

    Starting a process takes longer than any of these runs.
    """
    launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
    text = json.dumps([[*map(str, job), *launcher] for job in jobs])
    done = subprocess.run(
        command(ranks, HERE / 'many.py', text),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-8000:]


def reports(folder: Path, ranks: Optional[int] = None) -> list[dict[str, Any]]:
    """What each rank has reported, by rank."""
    found = [json.loads((folder / f'{r}.json').read_text()) for r in range(ranks or 1)]
    assert len(list(folder.glob('*.json'))) == len(found)
    return found
