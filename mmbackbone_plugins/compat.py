"""What differs between families and versions of the stack; the only file that knows them.

It imports nothing of the stack by itself: the functions on torch import what they need.
"""

import importlib
import inspect
import re
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.parallel import DistributedDataParallel

# Import name: distribution names of the two families (OneDL, OpenMMLab), and the oldest version
# of each that is let through: what the tests were run with, requirements/tested.txt and
# tested-openmmlab.txt. Older ones may work; nobody has looked.
_FAMILIES = {
    'mmengine': (('onedl-mmengine', '0.10.12'), ('mmengine', '0.10.7')),
    'mmcv': (('onedl-mmcv', '2.3.6'), ('mmcv', '2.0.1')),
    'mmdet': (('onedl-mmdetection', '3.5.1'), ('mmdet', '3.0.0')),
    'mmrotate': (('onedl-mmrotate', '1.2.1'), ('mmrotate', '1.0.0rc1')),
}


def check_versions() -> None:
    """Refuses a missing mmengine, both families at once and what is too old; imports nothing."""
    twice = {name: found for name in _FAMILIES if len(found := distributions(name)) > 1}
    if twice:
        both = [pair for found in twice.values() for pair in found]
        raise ImportError(
            f'both families are installed ({", ".join(" ".join(pair) for pair in both)}), and '
            f'they share the files of {", ".join(twice)}: one overwrote the other. To remove one '
            'would break what is left, so remove both, then install one family again (see the '
            f'README): pip uninstall -y {" ".join(dist for dist, _ in both)}'
        )
    for name, families in _FAMILIES.items():
        installed = [(dist, old, have) for dist, old in families if (have := _installed(dist))]
        if not installed and name == 'mmengine':
            raise ImportError(
                'mmbackbone_plugins needs mmengine, and none is installed. Install one family: '
                'pip install "mmbackbone_plugins[onedl]" (maintained) or "[openmmlab]"; see the '
                'README for the order that compiles the operators of mmcv.'
            )
        for dist, oldest, have in installed:
            if _key(have) < _key(oldest):
                raise ImportError(
                    f'mmbackbone_plugins needs {dist}>={oldest}, but {have} is installed'
                )


def check_operators() -> None:
    """Refuses an mmcv without compiled operators: no detector can be built without them.

    The ImportError is mmcv's own if it cannot be imported itself (libGL is often missing).
    """
    try:
        importlib.import_module('mmcv')
    except ModuleNotFoundError as error:
        if error.name == 'mmcv':  # not installed: mmdet says so, where it is needed
            return
        raise
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        dist, have = (distributions('mmcv') or [('mmcv', '')])[0]
        pinned = f'{dist}=={have}' if have else dist
        raise ImportError(
            f"mmcv's compiled operators cannot be loaded ({error}). pip skips them in silence "
            'where torch is not at hand, as in its isolated builds; operators of another torch '
            'do not load either. Compile them again, which takes minutes: MMCV_WITH_OPS=1 '
            'pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall '
            f"--no-binary {dist} '{pinned}'"
        ) from error


def operators_lack_optimisation() -> bool:
    """Whether mmcv's compiled module was built with -O0: operators then take up to twice the time.

    What a compiler inlines everywhere has a name of its own in such a file. A build for CUDA is not
    judged: nvcc leaves the same names.
    """
    content = Path(str(importlib.import_module('mmcv._ext').__file__)).read_bytes()
    inlined = (b'_ZSt7forwardI', b'_ZnwmPv')  # std::forward, placement new
    return b'libcudart' not in content and any(name in content for name in inlined)


def distributions(name: str) -> list[tuple[str, str]]:
    """Installed distributions of an import name, with versions; more than one: both families."""
    names = [dist for dist, _ in _FAMILIES.get(name, ())] or [f'onedl-{name}', name]
    return [(dist, have) for dist in names if (have := _installed(dist))]


def _installed(distribution: str) -> Optional[str]:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _key(text: str) -> tuple[int, ...]:
    """Numbers of a version up to the first part that is not one; pre-releases count as equal."""
    found = (re.match(r'\d+', part) for part in text.split('.')[:3])
    return tuple(int(number[0]) for number in takewhile(bool, found) if number)


# -- torch -----------------------------------------------------------------------------------------


def flop_counter() -> Optional[type]:
    """The flop counter of torch; None in torch 2.0, which has none."""
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError:
        return None
    return FlopCounterMode


def l2_norms(tensors: list['Tensor']) -> list['Tensor']:
    """L2 norms of tensors of one type on one device, added up in float64."""
    import torch

    try:
        return list(torch._foreach_norm(tensors, 2, torch.float64))
    except TypeError:
        return [torch.linalg.vector_norm(t, dtype=torch.float64) for t in tensors]


def ddp_options(ddp: 'DistributedDataParallel') -> dict[str, Any]:
    """Arguments for a wrapper like this one that not every torch takes.

    ``init_sync`` (2.1 or newer) is off: it leaves out the broadcast of parameters that are equal on
    all ranks already.
    """
    from torch.nn.parallel import DistributedDataParallel

    known = inspect.signature(DistributedDataParallel.__init__).parameters
    options: dict[str, Any] = {}
    if 'init_sync' in known:
        options['init_sync'] = False
    if 'skip_all_reduce_unused_params' in known:
        options['skip_all_reduce_unused_params'] = ddp.skip_all_reduce_unused_params
    return options


def ddp_comm_hooks(ddp: 'DistributedDataParallel') -> list[tuple[Any, Any]]:
    """The communication hooks of a wrapper, as (hook, state); a RuntimeError if torch hides it."""
    hooks = getattr(ddp, '_comm_hooks', None)
    if hooks is not None:
        return list(hooks)
    name = ddp._get_ddp_logging_data().get('comm_hook')
    if name:
        raise RuntimeError(
            f'the distributed wrapper has the communication hook {name!r}, and this torch cannot '
            'hand it on to the wrapper of the next phase: use torch 2.1 or newer, or no such hook'
        )
    return []


def ddp_release(ddp: 'DistributedDataParallel') -> None:
    """Ends a wrapper's reactions to gradients; it cannot be used afterwards."""
    if hasattr(ddp, '_remove_autograd_hooks'):
        ddp._remove_autograd_hooks()
    else:  # torch 2.0: the reducer does it when nothing holds it any more
        ddp.logger = ddp.reducer = None


def autocast_dtype(device: str) -> Any:
    """The type that autocast works in on a kind of device; None where it is off."""
    import torch

    try:
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    except (AttributeError, TypeError):  # torch before 2.4
        if device == 'cpu':
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
