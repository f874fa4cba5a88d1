"""A copy of the checkout, what is built from it, and an environment with nothing but a wheel."""

import shutil
from pathlib import Path

import pytest
from packaged import Environment, pip_wheel

ROOT = Path(__file__).resolve().parents[2]
# What a clone would not have.
IGNORED = (
    '.git',
    '.venv*',
    '.mim',
    'work_dirs',
    'data',
    '__pycache__',
    '*.egg-info',
    'build',
    'dist',
)


@pytest.fixture(scope='session')
def tree(tmp_path_factory):
    """The checkout as a clone has it: builds leave things in it."""
    folder = tmp_path_factory.mktemp('clone') / 'mmbackbone_plugins'
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*IGNORED))
    return folder


@pytest.fixture(scope='session')
def wheel(tree, tmp_path_factory):
    """The wheel as pip builds it from a checkout."""
    return pip_wheel(tree, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='session')
def fresh(wheel, tmp_path_factory):
    """The environment with the wheel, and a working folder outside the checkout."""
    folder = tmp_path_factory.mktemp('fresh')
    (folder / 'work').mkdir()
    environment = Environment(folder / 'venv', folder / 'work')
    environment.install(wheel)
    environment.see_the_stack()
    return environment
