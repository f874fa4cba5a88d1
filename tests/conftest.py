import sys
from pathlib import Path

import pytest
import torch

from mmbackbone_plugins import compat

# Tests import the rig by name, also in processes that they start.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items):
    """The OpenMMLab family stands on torch 2.0: what that has not is no failure."""
    if compat.flop_counter() is None:
        reason = f"torch {torch.__version__} has no flop counter, no access to DDP's hooks"
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
