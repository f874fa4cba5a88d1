"""The examples in the docstrings of what is public: there are some, and what they say is true."""

import doctest
import pkgutil
import re
from pathlib import Path

import pytest
from mmengine.registry import HOOKS, METRICS, MODELS, TRANSFORMS

import mmbackbone_plugins

PACKAGE = mmbackbone_plugins.__name__
REFERENCE = Path(__file__).resolve().parents[1] / 'docs' / 'reference'
FILES = 'reads or writes files'
RESULT = 'only holds what a function returns'
WITHOUT = {
    'FREEZING_SCHEDULES': "a registry of mmengine's",
    '__version__': 'a text',
    'FreezeStatus': RESULT,
    'lab.benchmarking.Result': RESULT,
    'lab.benchmarking.load_results': FILES,
    'lab.benchmarking.read_plan': FILES,
    'lab.toy.Scene': RESULT,
    'lab.toy.make_toy_dataset': FILES,
    'lab.toy.read_manifest': FILES,
    'spectra.files.load_spectra': FILES,
}
NEWER_TORCH = {'training_flops'}

pytestmark = pytest.mark.usefixtures('registrations_undone')


def public_names() -> set[str]:
    """Names below the package: those it exports, and those the reference has a section for."""
    text = ''.join(page.read_text(encoding='utf-8') for page in REFERENCE.glob('*.md'))
    documented = set(re.findall(rf'^::: {PACKAGE}\.(\S+)$', text, re.MULTILINE))
    assert documented > {'Freezer', 'lab.toy.draw_scene'}
    return documented | set(mmbackbone_plugins.__all__)


# The configs in examples of what is built from them.
REGISTRIES = {
    'custom_hooks': HOOKS,
    'val_evaluator': METRICS,
    'test_evaluator': METRICS,
    'corruption': TRANSFORMS,
    'backbone': MODELS,
}
NAMES = public_names()
WITH = {name.rpartition('.')[2]: name for name in sorted(NAMES - set(WITHOUT))}  # each once


def test_only_what_is_public_is_left_out():
    assert set(WITHOUT) <= NAMES


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.newer_torch if name in NEWER_TORCH else ())
        for name in WITH.values()
    ],
)
def test_the_example_runs(name):
    module, _, attribute = f'{PACKAGE}.{name}'.rpartition('.')
    found = pkgutil.resolve_name(f'{module}:{attribute}')
    tests = doctest.DocTestFinder(exclude_empty=True).find(found, name, module=False, globs={})
    tests = [test for test in tests if test.examples]  # of methods too
    assert name in {test.name for test in tests}, f'the docstring of {name} has no example'
    runner = doctest.DocTestRunner(
        verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    for test in tests:
        said: list[str] = []
        assert not runner.run(test, out=said.append, clear_globs=False).failed, ''.join(said)
        for variable, registry in REGISTRIES.items():
            configs = test.globs.get(variable, [])
            for config in configs if isinstance(configs, list) else [configs]:
                assert not isinstance(config, dict) or registry.build(dict(config)) is not None
