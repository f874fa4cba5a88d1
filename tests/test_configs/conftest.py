import shutil
from pathlib import Path

import cv2
import pytest
from mmengine.registry import DefaultScope

from mmbackbone_plugins.lab.toy import make_toy_dataset


@pytest.fixture(autouse=True)
def _default_scope():
    """Leaves no default scope behind: tests elsewhere build under their own."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture(scope='session')
def toy_root(tmp_path_factory):
    """Drawn data in both layouts, with every class, by name of the data set."""
    roots = {}
    for fmt in ('dota', 'dior'):
        roots[fmt] = tmp_path_factory.mktemp('toy') / fmt
        counts = dict(train=1, val=1, test=1)
        make_toy_dataset(roots[fmt], fmt=fmt, counts=counts, size=128, classes='all', density=24)
    return roots


@pytest.fixture
def real_root(shared_data, tmp_path):
    """The real samples as the zoo's configs look for them, by name of the data set.

    The same picture stands in for training and validation: this is about formats, not scores.
    """
    return {'dota': _dota(shared_data, tmp_path), 'dior': _dior(shared_data, tmp_path)}


def _dota(shared: Path, tmp: Path) -> Path:
    root = tmp / 'dota'
    (picture,) = (shared / 'dota' / 'images').glob('*.png')
    # The sample's labels are those of the 1024 px patch; its picture is stored at a sixth.
    patch = cv2.resize(cv2.imread(str(picture)), (1024, 1024))
    for split in ('train', 'val'):
        (root / split / 'images').mkdir(parents=True)
        cv2.imwrite(str(root / split / 'images' / picture.name), patch)
        (root / split / 'annfiles').symlink_to(shared / 'dota' / 'annfiles')
    (root / 'test' / 'images').mkdir(parents=True)
    scene = root / 'test' / 'images' / 'P0000__1024__0___0.png'  # named as a patch of a split
    scene.symlink_to(shared / 'dota' / 'dota_demo_unlabelled.jpg')
    return root


def _dior(shared: Path, tmp: Path) -> Path:
    root = tmp / 'dior'
    (root / 'ImageSets' / 'Main').mkdir(parents=True)
    for split in ('train', 'val', 'test'):
        listed = shared / 'dior' / 'ImageSets' / 'Main' / 'sample.txt'
        shutil.copy(listed, root / 'ImageSets' / 'Main' / f'{split}.txt')
    (root / 'Annotations').symlink_to(shared / 'dior' / 'Annotations')
    for folder in ('JPEGImages-trainval', 'JPEGImages-test'):
        (root / folder).symlink_to(shared / 'dior' / 'JPEGImages')
    return root
