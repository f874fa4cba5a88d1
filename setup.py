"""Packaging of mmbackbone_plugins.

Configs, tools and the model index live at the top of the repository; MMEngine and MIM look for
them in ``mmbackbone_plugins/.mim``. A wheel and an sdist carry copies there, made in the build tree
so that a build leaves the working tree as it was. An editable install links to the originals, so
that an edited config is the one that runs.

A wheel carries a second copy beside its metadata. onedl-mim (0.5.1) takes the folder of the first
installed file for the package; pip sorts the files, and where a distribution is named like its
package, ``mmbackbone_plugins-<version>.dist-info`` comes before ``mmbackbone_plugins/``.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmbackbone_plugins'
MIM_ITEMS = ('configs', 'tools', 'model-index.yml')
# Left out of the copies: of use only inside a clone of the repository.
NOT_SHIPPED = ('__pycache__', '*.pyc', 'setup_env.sh', 'compile_progress.py')


def read_version() -> str:
    """Read ``__version__`` as text: importing the package would need torch and mmengine."""
    text = (ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = ['\"]([^'\"]+)['\"]", text, re.M).group(1)


def read_requirements(name: str) -> list:
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def fill_mim(package_dir: Path, link: bool) -> list:
    """Put configs, tools and the model index into ``<package_dir>/.mim``.

    Args:
        package_dir: The package's folder in the repository, in a build tree or in an sdist's tree.
        link: Make relative links to the originals; copy where the system allows no links.

    Returns:
        The paths of the files that were copied.
    """
    mim = package_dir / '.mim'
    mim.mkdir(parents=True, exist_ok=True)
    copied = []
    for item in MIM_ITEMS:
        source, target = ROOT / item, mim / item
        _remove(target)
        if not source.exists():
            continue
        if link:
            try:
                target.symlink_to(os.path.relpath(source, mim), source.is_dir())
                continue
            except OSError:  # Windows without the right to make links
                pass
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*NOT_SHIPPED))
            copied += [path for path in sorted(target.rglob('*')) if path.is_file()]
        else:
            shutil.copy2(source, target)
            copied.append(target)
    return copied


class BuildPyWithMim(build_py):
    """``build_py`` runs for wheels (copies) and, in editable mode, for ``pip install -e``."""

    editable_mode = False  # setuptools before 64 has no such mode
    mim_files = ()

    def run(self):
        super().run()
        if self.editable_mode:
            fill_mim(ROOT / PACKAGE, link=True)
        else:
            self.mim_files = fill_mim(Path(self.build_lib) / PACKAGE, link=False)

    def get_outputs(self, include_bytecode=True):
        return super().get_outputs(include_bytecode) + [str(path) for path in self.mim_files]


class BdistWheelWithMim(bdist_wheel):
    """The copy for onedl-mim, in the folder of the metadata."""

    def write_wheelfile(self, wheelfile_base, *args, **kwargs):
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        if 'bdist_wheel' in self.distribution.commands:  # an editable install passes here too
            fill_mim(Path(wheelfile_base), link=False)


class SdistWithMim(sdist):
    """The sdist's tree gets ``.mim`` too, whatever the working tree's own ``.mim`` holds."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        fill_mim(Path(base_dir) / PACKAGE, link=False)


def readme() -> str:
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


if __name__ == '__main__':
    if 'develop' in sys.argv:  # the legacy command never reaches build_py
        fill_mim(ROOT / PACKAGE, link=True)
    setup(
        name=PACKAGE,
        version=read_version(),
        description='How much should the pre-trained backbone of a detector move? '
        'Freezing schedules, gradient and drift measures for MMDetection and MMRotate',
        long_description=readme(),
        long_description_content_type='text/markdown',
        author='The mmbackbone_plugins authors',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords='object detection, oriented object detection, backbone freezing, fine-tuning',
        packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
        package_data={PACKAGE: ['py.typed', 'benchmarking/report/*.j2']},
        python_requires='>=3.9',
        # The MM* packages come from one of two families with the same import names, so neither
        # can be demanded here: see the extras. The versions are checked on import.
        install_requires=['torch', 'numpy', 'filelock'],
        extras_require={
            name: read_requirements(name)
            for name in ('onedl', 'openmmlab', 'mmpretrain', 'plots', 'robustness', 'docs', 'dev')
        },
        cmdclass={
            'build_py': BuildPyWithMim,
            'bdist_wheel': BdistWheelWithMim,
            'sdist': SdistWithMim,
        },
        classifiers=[
            'Development Status :: 4 - Beta',
            'Environment :: GPU :: NVIDIA CUDA',
            'Intended Audience :: Developers',
            'Intended Audience :: Science/Research',
            'Operating System :: POSIX :: Linux',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.9',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
            'Topic :: Scientific/Engineering :: Image Recognition',
            'Typing :: Typed',
        ],
        zip_safe=False,
    )
