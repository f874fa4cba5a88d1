import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'test_configs')]


@pytest.fixture(autouse=True)
def _default_scope():
    """Leaves no default scope behind: tests elsewhere build under their own."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope='session')
def data_root(tmp_path_factory):
    """Four drawn scenes for training, four for validation."""
    from mmbackbone_plugins.lab.toy import make_toy_dataset

    root = tmp_path_factory.mktemp('toy') / 'dota'
    counts = dict(train=4, val=4, test=1)
    make_toy_dataset(root, fmt='dota', counts=counts, size=128, classes='all', density=24)
    return root
