import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mmbackbone_plugins import FREEZING_SCHEDULES, compat
from mmbackbone_plugins.distortion import importance, projection
from mmbackbone_plugins.models import families
from mmbackbone_plugins.stages import rules

# Tests import the rig by name, also in processes that they start.
sys.path.insert(0, str(Path(__file__).parent))


# The tier of a folder's or file's tests; of all others it is `unit`. A marker that a test has, or a
# file by `pytestmark`, goes before it.
_TIERS = {
    'zoo': ['test_configs'],
    'docs': ['test_docs'],
    'run': [
        'test_benchmark.py',
        'test_queue.py',
        'test_repeats.py',
        'test_report_browser.py',
        'test_combine.py',
        'test_compat.py',
        'test_compat_torch.py',
        'test_demo.py',
        'test_distributed',
        'test_hooks',
        'test_import.py',
        'test_interruption.py',
        'test_launch.py',
        'test_stage_blocks_train.py',
        'test_packaging',
        'test_setup.py',
        'test_tools',
    ],
}
_BY_NAME = {name: tier for tier in _TIERS for name in _TIERS[tier]}


def _tier(path: Path) -> str:
    return next((_BY_NAME[part] for part in reversed(path.parts) if part in _BY_NAME), 'unit')


def pytest_ignore_collect(collection_path, config):
    """`make check` does without what takes half a minute to collect."""
    if config.option.markexpr == 'unit' and _tier(collection_path) in ('zoo', 'docs'):
        return True


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    """Marks the tiers, and skips what torch 2.0, which the OpenMMLab family needs, has not."""
    for item in items:
        if not any(item.get_closest_marker(name) for name in ('unit', 'slow', *_TIERS)):
            item.add_marker(_tier(item.path))
    if compat.flop_counter() is None:
        lacks = "no flop counter, no access to DDP's hooks, no compiled constants"
        reason = f'torch {torch.__version__} has {lacks}'
        absent = pytest.mark.skip(reason=reason)
        for item in items:
            if item.get_closest_marker('newer_torch'):
                item.add_marker(absent)


@pytest.fixture(autouse=True)
def _threads():
    """One thread: detectors this small lose by more, and sums are the same on every machine."""
    torch.set_num_threads(1)
    yield


@pytest.fixture
def registrations_undone(monkeypatch):
    """Scopes, and what examples register, are gone afterwards."""
    kinds = ((importance, '_KINDS'), (projection, '_KINDS'))
    for module, name in ((rules, '_RULES'), (families, '_RULES'), *kinds):
        monkeypatch.setattr(module, name, getattr(module, name).copy())
    monkeypatch.setattr(FREEZING_SCHEDULES, '_module_dict', FREEZING_SCHEDULES.module_dict.copy())
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture
def shared_data() -> Path:
    """Folder of the real samples, a sibling of the checkout where there is one."""
    folder = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'real samples are not here: {folder}')
    return folder


@pytest.fixture
def plain_convolutions():
    """Without oneDNN, whose bfloat16 weight gradients of 1 x 1 maps are uninitialised memory."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield
