"""Whether the weights that a run starts from are there, and fit its model.

PyTorch and mmengine load what fits and leave the rest: a detector with half of its weights trains,
and is scored, without an error.
"""

import functools
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from mmengine.registry import MODELS
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ..models import StageBlockBackbone
from ..utils import checkpoints
from ..utils.wrappers import unwrap

BACKBONE = re.compile(r'((student|teacher|detector)\.)?backbone\.')
MISMATCH = re.compile(
    r'size mismatch for (\S+): copying a param with shape (?:torch\.Size\()?\[(.*?)\]\)? from '
    r'checkpoint, the shape in current model is (?:torch\.Size\()?\[(.*?)\]'
)
# PyTorch 0.4 had no such counters, and MMDetection 2 saved the averages of EMA beside.
IDLE = re.compile(r'num_batches_tracked$|^ema_')
# Settings whose file is read while the model is built: of distilling detectors, and of timm.
AS_BUILT = ('teacher_ckpt', 'checkpoint_path')
# What a run needs to go on, of what mmengine saves; the rest may be left out by CheckpointHook.
RUN_STATE = ('meta', 'message_hub', 'epoch', 'iter')


@dataclass(frozen=True)
class Misfit:
    """What of a model and of a checkpoint does not find its counterpart."""

    missing: dict[str, str]  # names in the model that the checkpoint does not fill, with the reason
    unknown: dict[str, str]  # names in the checkpoint that the model has not, with the reason

    def __str__(self) -> str:
        return _listed({**self.missing, **self.unknown})


def load(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Misfit:
    """Loads what fits, by the rules of the modules themselves.

    Some rename or resize what they find (detectors for semi-supervised learning, position
    embeddings), so that names and shapes alone say little about what fits.
    """
    keys: list[tuple[list[str], list[str]]] = []
    hook = model.register_load_state_dict_post_hook(
        lambda _, found: keys.append((list(found.missing_keys), list(found.unexpected_keys)))
    )
    shapes = {}
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of shapes; the rest is loaded
        shapes = {name: (file, own) for name, file, own in MISMATCH.findall(str(error))}
        if not shapes:
            raise
    finally:
        hook.remove()
    missing, unknown = keys[0]
    wrong = {n: 'missing' for n in missing if not IDLE.search(n)}
    wrong.update({n: f'shape ({file}), the model has ({own})' for n, (file, own) in shapes.items()})
    return Misfit(wrong, {n: 'not in the model' for n in unknown if not IDLE.search(n)})


def load_weights(
    model: nn.Module,
    path: str,
    allow_partial: bool = False,
    places: tuple[str, ...] = checkpoints.NESTED,
) -> None:
    """Loads a checkpoint of the whole detector; half of one would make a wrong number.

    With ``allow_partial`` one that does not fit is loaded as far as it does; a warning says what
    was not. ``places``: see :func:`.checkpoints.weights_of`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or a key is missing, unknown or of another shape; the
            message names the first.
    """
    label = f'checkpoint {path!r}'
    state = checkpoints.weights_of(checkpoints.read(path), label, places)
    found = load(model, state)
    if not found.missing and not found.unknown:
        return
    count = len(found.missing) + len(found.unknown)
    if allow_partial:
        _warn(f'{label}: {count} keys differ and were not loaded: {found}')
        return
    hint = checkpoints.other_prefix(state, list(found.missing))
    raise ValueError(
        f'{label} does not fit the config, {count} keys differ: {found}{hint}. It must be of the '
        'whole detector, with the same classes; weights of a backbone alone belong into '
        'model.backbone.init_cfg'
    )


def check_test(model: nn.Module, path: str, allow_partial: bool = False) -> None:
    """Refuses to score a checkpoint that does not fit; the runner loads it afterwards."""
    inner = _module(model)
    if inner is not None:
        load_weights(inner, path, allow_partial, checkpoints.OWN)


def check_start(model: nn.Module, cfg: Config, allow_partial: bool = False) -> None:
    """Refuses to train from a checkpoint that leaves the backbone as it was.

    A head that differs is common, of other classes say: a warning says what was not loaded. A run
    that is resumed has to fit as a whole, for its optimizer's state does. The model is the
    runner's, before its weights are initialised; the config has ``load_from`` and ``resume`` as
    they will be.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        ValueError: If it cannot be read, does not fit, or a run cannot be resumed from it.
    """
    path = cfg.get('load_from')
    inner = _module(model)
    if not path or inner is None:
        return
    resume = bool(cfg.get('resume'))
    label = f'--resume: checkpoint {path!r}' if resume else f'load_from={path!r}'
    checkpoint = checkpoints.read(path, label)
    state = checkpoints.weights_of(checkpoint, label, checkpoints.OWN)
    run = {**(checkpoint.get('meta') or {}), **checkpoint}
    lacks = [key for key in RUN_STATE if key not in run]
    if resume and lacks:
        raise ValueError(
            f'{label} holds weights alone, no {lacks[0]!r} of a run: it cannot be gone on from. '
            'Start a run from its weights with --cfg-options load_from=FILE, without --resume'
        )
    found = load(inner, state)
    blocks = tuple(
        f'{name}.blocks.' for name, m in inner.named_modules() if isinstance(m, StageBlockBackbone)
    )
    backbone = {
        name: why
        for name, why in found.missing.items()
        if BACKBONE.match(name) and not name.startswith(blocks)
    }
    wrong = {**found.missing, **found.unknown} if resume else backbone
    if wrong and not allow_partial:
        hint = checkpoints.other_prefix(state, list(wrong))
        what = 'keys' if resume else 'keys of the backbone'
        raise ValueError(
            f'{label} does not fit the config, {len(wrong)} {what} differ: '
            f'{_listed(wrong)}{hint}. Weights of a backbone alone belong into '
            'model.backbone.init_cfg; --allow-partial trains all the same'
        )
    if found.missing or found.unknown:
        total = len(inner.state_dict())
        _warn(
            f'{label}: {len(found.missing)} of {total} keys of the model are not filled and start '
            f'as new, {len(found.unknown)} of the file are not used: {found}'
        )


def check_init_cfg(cfg: Config, train: bool = True) -> None:
    """Looks into the local files that the parts of a model are initialised from.

    Without ``train`` only files that are read as the model is built count.

    Raises:
        FileNotFoundError: If one is not there; the message names the setting.
        ValueError: If one cannot be read, or has no weights where they are looked for.
    """
    for where, path, node, owner in initial_files(cfg.get('model'), 'model'):
        key = where.rpartition('.')[2]
        if checkpoints.is_address(path) or not (train or key in AS_BUILT):
            continue
        label = f'{where}={path!r}'
        own = key == 'checkpoint' and _initialised_by_mmengine(owner, cfg)
        places = checkpoints.OWN if own else checkpoints.NESTED
        names = _names_in(path, label, places, _stamp(path))
        prefix = node.get('prefix')
        if own and prefix and not any(name.startswith(prefix) for name in names):
            first = ', '.join(names[:3])
            raise ValueError(f'{label} has nothing under prefix={prefix!r}; it has {first}, ...')


@functools.lru_cache(maxsize=64)
def _names_in(path: str, label: str, places: tuple[str, ...], stamp: Any) -> tuple[str, ...]:
    """Names of the weights in a file; many runs of a benchmark start from one."""
    return tuple(checkpoints.weights_of(checkpoints.read(path, label), label, places))


def _stamp(path: str) -> Any:
    """Changes as the file does."""
    local = Path(path).expanduser()
    return (os.path.abspath(local), local.stat().st_mtime_ns) if local.is_file() else None


def initial_files(
    node: Any, where: str, owner: Any = None
) -> Iterator[tuple[str, str, Mapping, Any]]:
    """Checkpoints that a model's config names.

    Yields:
        The dotted path of the setting, the checkpoint, the dict that names it, the owner's type.
    """
    if isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from initial_files(value, f'{where}.{i}', owner)
    if not isinstance(node, Mapping):
        return
    kind = node.get('type')
    pretrained = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
    is_initializer = pretrained in ('Pretrained', 'PretrainedInit')
    keys = {*AS_BUILT, 'pretrained', *(['checkpoint'] if is_initializer else [])}
    for key, value in node.items():
        here = f'{where}.{key}'
        if key in keys and isinstance(value, str) and value:
            yield here, value, node, owner
        elif key != 'teacher_config':
            yield from initial_files(value, here, kind or owner)
        elif not node.get('teacher_ckpt'):  # else its own weights are overwritten
            if isinstance(value, (str, Path)):
                value = Config.fromfile(value)
            yield from initial_files(value.get('model'), f'{here}.model')


def _initialised_by_mmengine(owner: Any, cfg: Config) -> bool:
    """Whether a module leaves its ``init_cfg`` to mmengine, which looks under ``state_dict``."""
    if isinstance(owner, str):
        with MODELS.switch_scope_and_registry(cfg.get('default_scope', 'mmdet')) as registry:
            owner = registry.get(owner)
    return getattr(owner, 'init_weights', None) is BaseModule.init_weights


def _module(model: Any) -> Optional[nn.Module]:
    """The detector inside a runner's model; None if it is sharded, or not built yet."""
    if not isinstance(model, nn.Module):
        return None
    if is_model_wrapper(model) and not isinstance(model, (DataParallel, DistributedDataParallel)):
        return None
    model = unwrap(model)
    return model.module if isinstance(model, BaseTTAModel) else model


def _listed(wrong: Mapping[str, str], most: int = 4) -> str:
    """The first names, each with its reason."""
    texts = [f'{name} ({why})' for name, why in list(wrong.items())[:most]]
    more = f' and {len(wrong) - most} more' if len(wrong) > most else ''
    return ', '.join(texts) + more


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
