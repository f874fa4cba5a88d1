"""The direction of imports: the plugin knows nothing of the lab, nor mathematics of mmengine."""

import ast
import importlib
import sys
import warnings
from pathlib import Path

import pytest

from mmbackbone_plugins import moved

ROOT = Path(__file__).resolve().parents[1] / 'mmbackbone_plugins'
MATHEMATICS = ('cost', 'distortion', 'freezing', 'spectra', 'stages', 'utils')
# A distributed wrapper is rebuilt with mmengine's classes; files are read by mmengine's loader.
MAY_IMPORT_MMENGINE = {'freezing.ddp', 'utils.checkpoints', 'utils.wrappers'}


def _modules() -> dict[str, Path]:
    paths = {p.relative_to(ROOT).with_suffix(''): p for p in ROOT.rglob('*.py')}
    return {'.'.join(n.parts).removesuffix('__init__').rstrip('.'): p for n, p in paths.items()}


MODULES = _modules()


def imports(module: str, top: bool = False) -> set[str]:
    """What a module imports: ours below the package, others by their full name."""
    path = MODULES[module]
    tree = ast.parse(path.read_text())
    here = module.split('.') if module else []
    package = here if path.name == '__init__.py' else here[:-1]
    found = set()
    for node in tree.body if top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = '.'.join([*base, *((node.module or '').split('.') if node.module else [])])
            inside = [f'{name}.{alias.name}'.lstrip('.') for alias in node.names]
            found |= {i for i in inside if node.level and i in MODULES} or {name}
    return {n.removeprefix('mmbackbone_plugins.') for n in found}


def in_room(module: str, room: str) -> bool:
    return module == room or module.startswith(f'{room}.')


def test_the_reader_of_imports_sees_them():
    assert 'lab.resume' in imports('lab.interruption')
    assert 'utils.untouched' in imports('distortion.passes')
    assert 'mmengine.hooks' in imports('hooks.epochs')


def test_nothing_outside_the_lab_imports_it():
    arrows = [
        f'{module} -> {target}'
        for module in MODULES
        if not in_room(module, 'lab')
        for target in imports(module)
        if in_room(target, 'lab')
    ]
    assert not arrows


@pytest.mark.parametrize('room', MATHEMATICS)
def test_mathematics_knows_neither_mmengine_nor_hooks(room):
    arrows = [
        f'{module} -> {target}'
        for module in MODULES
        if in_room(module, room) and module not in MAY_IMPORT_MMENGINE
        for target in imports(module)
        if target.split('.')[0] in ('mmengine', 'mmcv', 'mmdet', 'mmrotate', 'hooks', 'models')
    ]
    assert not arrows


def test_what_all_share_knows_none_of_them():
    rooms = {m.split('.')[0] for m in MODULES if '.' in m} - {'utils'}
    arrows = [
        f'{module} -> {target}'
        for module in MODULES
        if in_room(module, 'utils')
        for target in imports(module)
        if target.split('.')[0] in rooms
    ]
    assert not arrows


def test_no_circles():
    graph = {m: {t for t in imports(m, top=True) if t in MODULES and t != m} for m in MODULES if m}
    while leaves := [m for m, targets in graph.items() if not targets & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph


@pytest.mark.parametrize('old', sorted(moved.MOVED))
def test_old_paths_lead_to_the_same_modules(old):
    name = f'mmbackbone_plugins.{old}'
    for known in [n for n in sys.modules if in_room(n, name)]:
        del sys.modules[known]
    with warnings.catch_warnings():  # what it lies in says so by itself
        warnings.simplefilter('ignore', DeprecationWarning)
        importlib.import_module(name.rpartition('.')[0])
    with pytest.warns(DeprecationWarning, match=f'{name} has moved'):
        found = importlib.import_module(name)
    assert found is importlib.import_module(moved.new_name(name))


def test_modules_inside_a_package_that_moved():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        from mmbackbone_plugins import launch
        from mmbackbone_plugins.benchmarking import folder
    from mmbackbone_plugins.lab import launch as present
    from mmbackbone_plugins.lab.benchmarking import folder as folder_now

    assert launch is present and folder is folder_now
    assert moved.new_name('mmbackbone_plugins.hooks') is None
