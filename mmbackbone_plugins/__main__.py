"""What is installed, for a bug report: ``python -m mmbackbone_plugins``."""

import platform
import sys
from typing import Optional

# Nothing else of the package: this has to run where the rest refuses to.
from .compat import distributions, operators_lack_optimisation
from .version import __version__

STACK = ('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmrotate', 'mmpretrain')


def installed(name: str) -> str:
    """Version of an importable package and, where that has another name, its distribution."""
    found = distributions(name)
    if not found:
        return 'not installed'
    text = ', '.join(have if dist == name else f'{have} ({dist})' for dist, have in found)
    return f'{text} - both families: uninstall one' if len(found) > 1 else text


def compiled_operators() -> str:
    """Whether mmcv's operators are there and work: one is called."""
    try:
        import torch
        from mmcv.ops import box_iou_rotated

        overlap = float(box_iou_rotated(*[torch.tensor([[0.0, 0, 2, 2, 0]])] * 2))
        slow = operators_lack_optimisation()
    except Exception as error:  # a report has to come whatever is broken
        return f'do not work: {type(error).__name__}: {str(error).splitlines()[0]}'
    if abs(overlap - 1) >= 1e-4:
        return f'wrong: overlap {overlap}, not 1'
    again = ', compiled without optimisation: do it again with CFLAGS="-g0 -O2 -DNDEBUG"'
    return 'work on the CPU' + (again if slow else '')


def devices() -> str:
    """GPUs that torch sees."""
    try:
        import torch
    except Exception as error:
        return f'unknown, torch does not work: {type(error).__name__}: {error}'
    if not torch.cuda.is_available():
        return 'no GPU'
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cudnn = torch.backends.cudnn.version()
    return f'{len(names)} x {names[0]}, CUDA {torch.version.cuda}, cuDNN {cudnn}'


def registered() -> dict[str, list[str]]:
    """Names of this package by registry."""
    from mmengine.registry import HOOKS, METRICS, MODELS, TRANSFORMS

    from .registry import FREEZING_SCHEDULES

    found = {}
    for registry in (HOOKS, MODELS, METRICS, TRANSFORMS, FREEZING_SCHEDULES):
        ours = [n for n, c in registry.module_dict.items() if c.__module__.startswith(__package__)]
        found[registry.name] = sorted(ours)
    return found


def main(problem: Optional[ImportError] = None) -> int:
    """Prints the report; last comes the ``problem``, why the package refuses to be imported."""
    rows = [('Python', f'{sys.version.split()[0]}, {platform.platform()}')]
    rows += [(name, installed(name)) for name in STACK]
    rows += [('devices', devices()), ("mmcv's operators", compiled_operators())]
    rows += [('mmbackbone_plugins', __version__)]
    if problem is None:
        rows += [(registry, ', '.join(names)) for registry, names in registered().items()]
    for name, text in rows:
        print(f'{name:<19} {text}')
    if problem is not None:
        print(f'error: {problem}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
