"""What the command line tools share: reading a config, checks, starting processes.

Whatever is refused before the work starts is an ImportError, OSError or ValueError with a message
for users: the tools print it as one line, without a traceback, and exit with status 2.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS, RUNNERS, init_default_scope
from mmengine.runner import Runner
from mmengine.utils import is_installed

from ..compat import check_operators
from ..distortion import seed_everything
from ..hooks.checks import check_hooks
from ..utils.datasets import innermost_datasets
from ..utils.names import type_name
from .failures import FOR_USERS, reason
from .weights import check_init_cfg, load_weights
from .zoo import find_config

TRAIN_LOADERS = ('train_dataloader', 'val_dataloader')


def load_config(
    path: str,
    cfg_options: Optional[dict[str, Any]] = None,
    work_dir: Optional[str] = None,
    launcher: str = 'none',
) -> Config:
    """Reads a config as the tools do, by its path or its name in the zoo.

    ``cfg_options`` override the file's values, by dotted key. Without ``work_dir`` it is the
    config's own, else ``work_dirs/<name of the file>``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If mmcv has no compiled operators.
        ValueError: If the file is no config, or the values do not fit it.
    """
    path = find_config(path)
    register_modules()
    with _config_errors(f'config {path!r} cannot be read'):
        cfg = Config.fromfile(path)
    cfg.launcher = launcher
    if cfg_options:
        with _config_errors(f'--cfg-options do not fit config {path!r}'):
            cfg.merge_from_dict(cfg_options)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir', None) is None:
        cfg.work_dir = os.path.join('work_dirs', Path(path).stem)
    return cfg


@contextmanager
def _config_errors(what: str) -> Iterator[None]:
    """A config is code: whatever it raises is its author's to read, in one line."""
    try:
        yield
    except FOR_USERS:
        raise
    except Exception as error:
        raise ValueError(f'{what}: {reason(error)}') from error


def register_modules() -> None:
    """Registers what mmdet and mmrotate define, whichever of them is installed.

    Raises:
        ImportError: If mmcv has no compiled operators; see :func:`~.compat.check_operators`.
    """
    check_operators()
    for package in ('mmdet', 'mmrotate'):
        if importlib.util.find_spec(package):
            utils = importlib.import_module(f'{package}.utils')
            utils.register_all_modules(init_default_scope=False)
    # After the scopes exist, so that root names resolve from them.
    importlib.import_module('mmbackbone_plugins')
    # `mmseg::...` in a config: mmengine's table has no distribution but the OpenMMLab family's.
    for module, distribution in MODULE2PACKAGE.items():
        if not is_installed(distribution) and importlib.util.find_spec(module):
            MODULE2PACKAGE[module] = module


def prepare(cfg: Config, loaders: tuple[str, ...] = TRAIN_LOADERS) -> None:
    """Last checks of a run (OSError, ValueError), and its process group; the runner follows."""
    check_data(cfg, loaders)
    check_work_dir(cfg.work_dir)
    check_init_cfg(cfg, train='train_dataloader' in loaders)
    start_processes(cfg)


def start_processes(cfg: Config) -> None:
    """Joins a process group on a machine without a GPU, before mmengine does.

    mmengine's launcher calls ``torch.cuda.set_device`` and wraps the model with
    ``device_ids=[LOCAL_RANK]``; both fail on a CPU. A process group that exists already is
    respected, so gloo ranks come first and the wrapper (the config's ``model_wrapper_cfg``, which
    is set in place) gets no device.

    Raises:
        ValueError: If the launcher needs a GPU that is not there, or the environment of torchrun or
            of srun.
    """
    launcher, gpus = cfg.get('launcher', 'none'), torch.cuda.device_count()
    if launcher == 'none':
        return
    if launcher == 'slurm' and not gpus:
        _adopt_slurm_variables()
    elif launcher != 'pytorch':
        if not gpus:
            raise ValueError(
                f'launcher={launcher!r} needs a GPU, and torch sees none in this process: start '
                "with torchrun and launcher='pytorch', which runs on a CPU too: "
                'tools/dist_train.sh CONFIG 2'
            )
        return
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise ValueError(
            f"launcher='pytorch' needs the environment of torchrun ({', '.join(missing)} not "
            'set); start with: torchrun --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch'
        )
    if gpus:
        local_rank = int(os.environ.get('LOCAL_RANK', 0))
        if local_rank >= gpus:
            raise ValueError(
                f'process {local_rank} of this machine has no GPU: torch sees {gpus}; start at '
                'most as many processes as there are GPUs'
            )
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    if cfg.get('model_wrapper_cfg', None) is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )


def _adopt_slurm_variables() -> None:
    """Gives torch what it reads, from what ``srun`` sets: on a CPU mmengine's launcher cannot."""
    names = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NODELIST')
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f"launcher='slurm' needs the environment of srun ({', '.join(missing)} not set); "
            'start with: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR'
        )
    rank, size, local, nodes = (os.environ[name] for name in names)
    hosts = ['scontrol', 'show', 'hostnames', os.environ.get('SLURM_STEP_NODELIST', nodes)]
    if 'MASTER_ADDR' not in os.environ:
        first = subprocess.run(hosts, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = first[0]
    # One port a job, that two of them on a node do not meet.
    os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ['SLURM_JOB_ID']) % 10000))
    os.environ.update(RANK=rank, WORLD_SIZE=size, LOCAL_RANK=local)
    if rank == '0':
        print('warning: torch sees no GPU: this runs on the CPU, over gloo', file=sys.stderr)


def check_work_dir(folder: str) -> None:
    """Makes a work dir and writes into it, before a run spends minutes; OSError if it cannot."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f'work_dir {os.fspath(folder)!r} cannot be written ({error.strerror}): choose another '
            'folder by --work-dir'
        ) from error


def hooks_of(cfg: Config) -> list[Mapping[str, Any]]:
    """The configs of all hooks of a config."""
    hooks = list(cfg.get('custom_hooks', None) or [])
    hooks += (cfg.get('default_hooks', None) or {}).values()
    return [hook for hook in hooks if isinstance(hook, Mapping)]


def build_runner(cfg: Config) -> Runner:
    """Builds the runner that a config asks for."""
    check_hooks(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def build_model(cfg: Config) -> torch.nn.Module:
    """Builds the detector of a config; ValueError if one of its modules cannot be built."""
    if cfg.get('data_preprocessor', None):  # at the top of MMPretrain's configs
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(cfg.model)
    except (AssertionError, AttributeError, KeyError, TypeError) as error:
        hint = ''
        mean = (cfg.model.get('data_preprocessor', None) or {}).get('mean', None) or ()
        if len(mean) not in (0, 1, 3):
            hint = (
                f'; images of {len(mean)} channels need a data_preprocessor of your own: that of '
                'MMDetection takes means of 1 or 3 channels'
            )
        text = f'the detector of this config cannot be built: {reason(error)}{hint}'
        raise ValueError(text) from error


def build_detector(
    cfg: Config, checkpoint: Optional[str] = None, seed: int = 0, device: Optional[str] = None
) -> tuple[torch.nn.Module, str]:
    """A config's detector for a look at it: as training starts from it, or from a checkpoint.

    The seed is that of a fresh head. With a checkpoint, of the whole detector, the config's own
    pre-trained reference is taken out, for it would be fetched for nothing.

    Returns:
        The detector, and the device that it is on: by default the first GPU, else the CPU.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    seed_everything(seed)
    # Checkpoints of a LoRAModel lack what it wraps.
    if checkpoint and type_name(cfg.model.backbone) != 'LoRAModel':
        cfg.model.backbone.init_cfg = None
        if cfg.model.get('pretrained'):  # MMSegmentation's models hand it to the backbone
            cfg.model.pretrained = None
    check_init_cfg(cfg)
    model = build_model(cfg)
    model.init_weights()
    if checkpoint:
        load_weights(model, checkpoint)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return model.to(device), device


def check_data(cfg: Config, loaders: tuple[str, ...] = TRAIN_LOADERS) -> None:
    """Looks for the files of a config's datasets before anything is built.

    Raises:
        FileNotFoundError: If a path is missing; the message names all of them, the setting that
            holds them, and how to get or draw the data.
    """
    missing: list[str] = []
    for loader in loaders:
        for where, dataset in innermost_datasets(cfg.get(loader), loader):
            missing += [f'{where}.{key}: {p}' for key, p in _paths(dataset) if not p.exists()]
    if missing:
        raise FileNotFoundError(
            f'data of this config is missing: {"; ".join(sorted(set(missing)))}. DOTA is at '
            'https://captain-whu.github.io/DOTA (split it with MMRotate: '
            'tools/data/dota/split/img_split.py), DIOR-R at https://gcheng-nwpu.github.io, '
            'HIT-UAV in configs/hituav/README.md, cars in configs/cars/README.md; python '
            'tools/make_toy_data.py --help draws a small set in the same layout. Point data_root '
            'of the datasets there with --cfg-options'
        )


def _paths(dataset: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    root = Path(dataset.get('data_root') or '')
    if '://' in str(dataset.get('data_root')):
        return
    if not root.exists():
        yield 'data_root', root
        return
    if dataset.get('ann_file'):
        yield 'ann_file', root / dataset['ann_file']
    for key, prefix in (dataset.get('data_prefix') or {}).items():
        if prefix:
            yield f'data_prefix.{key}', root / prefix
