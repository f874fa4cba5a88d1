"""Plans of benchmarks: a YAML file that says which methods, detectors, data sets and seeds.

.. code-block:: yaml

    seeds: [0, 1, 2]
    datasets:
      dota:
        tests:
          dota: {split: val}        # scores of the domain that was trained on
          dior: {options: {...}}    # out of it
        in_domain: [dota]
    detectors: [oriented-rcnn-le90_r50_fpn]
    methods:
      full: configs/baselines/{detector}_1x_{dataset}.py
      dbf-rho10: configs/dbf/{detector}_dbf-rho10-1x_{dataset}.py
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from ...utils.names import nearest
from ..zoo import find_config
from .after import link, read_after
from .plan import MEASURES, Domain, Plan, Run, Step
from .results import SCORES
from .trials import expand, read_choice, with_chosen

KEYS = (
    *('work_dir', 'prepare', 'seeds', 'datasets', 'detectors', 'methods', 'options', 'measure'),
    *('choose', 'chosen', 'primary'),
)
ENTRIES = {
    'datasets': ('options', 'tests', 'in_domain', 'validation', 'metric', 'check', 'name'),
    'detectors': ('options', 'name'),
    'methods': ('options', 'config', 'like', 'after', 'seeds', 'trials'),
    'tests': ('config', 'options', 'split', 'metric'),
    'prepare': ('makes', 'run'),
    'check': ('format', 'root'),
    'primary': ('test', 'metric', 'seeds'),
}


def read_plan(path: Union[str, Path], work_dir: Optional[str] = None) -> Plan:
    """Reads a plan and everything that can be wrong with it before anything starts.

    Config files are looked for from the working directory, as a command line would.

    Args:
        path: The YAML file.
        work_dir: Folder of the benchmark instead of the plan's own (default
            ``work_dirs/<name of the file>``).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an entry is missing, unknown, of the wrong kind or there twice, if two runs
            are the same, or if a config does not exist; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'plan {str(path)!r} does not exist')
    try:
        data = yaml.load(path.read_text(encoding='utf-8'), _UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(f'plan {str(path)!r} is no valid YAML: {error}') from None
    try:
        return _plan(path, data, work_dir)
    except ValueError as error:
        raise ValueError(f'plan {str(path)!r}: {error}') from None


class _UniqueKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence: a method would be lost."""

    def construct_mapping(self, node, deep=False):
        keys: list = []
        for key_node, _ in node.value:
            if key_node.tag == 'tag:yaml.org,2002:merge':  # '<<': what it brings may be set anew
                continue
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f'{key!r} is there twice', key_node.start_mark
                )
            keys.append(key)
        return super().construct_mapping(node, deep)


def _plan(path: Path, data: Any, work_dir: Optional[str]) -> Plan:
    _check_keys('the plan', data, KEYS, needed=('datasets', 'detectors', 'methods'))
    datasets = _entries(data, 'datasets', None)
    detectors = _entries(data, 'detectors', None)
    methods = with_chosen(_entries(data, 'methods', 'config', instead='like'), data.get('chosen'))
    methods, trials = expand(methods)
    seeds = _seeds('seeds', data.get('seeds', [0]))
    own = {
        name: _seeds(f'methods.{name}.seeds', m.get('seeds', seeds)) for name, m in methods.items()
    }
    seeds = list(dict.fromkeys([*seeds, *itertools.chain(*own.values())]))
    measure = data.get('measure', list(MEASURES))
    measure = dict.fromkeys(measure) if isinstance(measure, list) else measure
    _check_keys('measure', measure, MEASURES)
    measure = {name: _mapping(f'measure.{name}', given) for name, given in measure.items()}
    common = _mapping('options', data.get('options'))
    runs: list[Run] = []
    missing: dict[str, str] = {}  # what is wrong, by config
    # Seeds come first: all methods are there once before any is repeated.
    axes = (seeds, datasets.items(), detectors.items(), methods.items())
    for seed, (dataset, where), (detector, what), (method, how) in itertools.product(*axes):
        if seed not in own[method]:
            continue
        names = dict(dataset=where.get('name', dataset), detector=what.get('name', detector))
        tests, in_domain, validation = _tests(dataset, where, names)
        config = _fill(f'methods.{method}', how['config'], names)
        try:
            config = find_config(config)
        except FileNotFoundError as error:
            missing.setdefault(config, f'unknown method {method!r}: {error}')
        options = dict(common)
        for entry in (where, what, how):
            options.update(_mapping('options', entry.get('options')))
        after = read_after(f'methods.{method}.after', how.get('after'))
        what_runs = (dataset, detector, method, seed, config, options, tests, in_domain, measure)
        runs.append(Run(*what_runs, after, validation=validation))
    if missing:
        more = f' (and {len(missing) - 1} more configs)' if len(missing) > 1 else ''
        raise ValueError(next(iter(missing.values())) + more)
    _check_different(runs)
    runs = link(runs)
    steps = []
    for step in data.get('prepare') or []:
        _check_keys('prepare', step, ENTRIES['prepare'], needed=ENTRIES['prepare'])
        steps.append(Step(str(step['makes']), str(step['run'])))
    checks = {name: entry['check'] for name, entry in datasets.items() if entry.get('check')}
    for name, check in checks.items():
        _check_keys(f'datasets.{name}.check', check, ENTRIES['check'], needed=ENTRIES['check'])
    folder = work_dir or data.get('work_dir') or f'work_dirs/{path.stem}'
    choice = read_choice(data.get('choose'), trials, runs)
    primary = _primary(data.get('primary'), runs)
    return Plan(path, Path(folder), tuple(steps), tuple(runs), checks, choice, primary)


def _primary(entry: Any, runs: list[Run]) -> Optional[dict[str, Any]]:
    if entry is None:
        return None
    _check_keys('primary', entry, ENTRIES['primary'], needed=ENTRIES['primary'])
    tests = sorted({test.name for run in runs for test in run.tests})
    if entry['test'] not in tests or entry['metric'] not in SCORES:
        raise ValueError(
            f'primary must have a test of the plan ({", ".join(tests)}) and a metric of '
            f'{", ".join(SCORES)}; got {entry!r}'
        )
    if type(entry['seeds']) is not int or entry['seeds'] < 3:
        raise ValueError(f'primary.seeds must be an integer of at least 3, got {entry["seeds"]!r}')
    return entry


def _seeds(where: str, seeds: Any) -> list[int]:
    if not isinstance(seeds, list) or not seeds or any(type(seed) is not int for seed in seeds):
        raise ValueError(f'{where} must be a list of integers, got {seeds!r}')
    if len(set(seeds)) < len(seeds):
        raise ValueError(f'{where} has duplicates, {seeds}: two runs would be the same')
    return seeds


def _entries(
    data: Mapping, kind: str, short: Optional[str], instead: Optional[str] = None
) -> dict[str, dict[str, Any]]:
    """Entries of one axis by name; a list of names, and a text for one key, are short forms."""
    entries = data[kind]
    if isinstance(entries, list):
        if len(set(map(str, entries))) < len(entries):
            raise ValueError(f'{kind} has duplicates: {entries}')
        entries = dict.fromkeys(entries)
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f'{kind} must name at least one, got {entries!r}')
    found = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not name or set(name) & set('/*\\ '):
            raise ValueError(f'{kind}: a name must be a text without / * and spaces, got {name!r}')
        if isinstance(entry, str) and short:
            entry = {short: entry}
        entry = {} if entry is None else entry
        needed = (short,) if short and not (isinstance(entry, dict) and instead in entry) else ()
        _check_keys(f'{kind}.{name}', entry, ENTRIES[kind], needed)
        found[name] = entry
    return found


def _tests(
    dataset: str, entry: Mapping, names: Mapping
) -> tuple[tuple[Domain, ...], tuple[str, ...], tuple[str, ...]]:
    tests = []
    for name, given in (entry.get('tests') or {dataset: {}}).items():
        given = given or {}
        where = f'datasets.{dataset}.tests.{name}'
        _check_keys(where, given, ENTRIES['tests'])
        split = given.get('split', 'test')
        if split not in ('test', 'val'):
            raise ValueError(f"{where}.split must be 'test' or 'val', got {split!r}")
        options = _mapping(f'{where}.options', given.get('options'))
        metric = given.get('metric', entry.get('metric'))
        config = given.get('config') and _fill(where, given['config'], names)
        try:
            config = config and find_config(config)
        except FileNotFoundError as error:
            raise ValueError(f'{where}: {error}') from None
        tests.append(Domain(str(name), split, config, options, metric))
    there = [test.name for test in tests]
    inside = entry.get('in_domain', there[:1])
    if not isinstance(inside, list) or not inside or not set(inside) <= set(there):
        raise ValueError(
            f'datasets.{dataset}.in_domain must be some of its tests, {", ".join(there)}; '
            f'got {inside!r}'
        )
    aside = entry.get('validation', [])
    left = [test for test in there if test not in inside]
    if not isinstance(aside, list) or not set(aside) <= set(left):
        raise ValueError(
            f'datasets.{dataset}.validation must be some of its tests that are not in in_domain '
            f'({", ".join(left) or "none"}); got {aside!r}'
        )
    return tuple(tests), tuple(inside), tuple(aside)


def _fill(where: str, template: Any, names: Mapping[str, str]) -> str:
    try:
        return str(template).format(**names)
    except (KeyError, IndexError, ValueError):
        raise ValueError(
            f'{where}: config may have {{dataset}} and {{detector}} only, got {template!r}'
        ) from None


def _check_different(runs: list[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        key = repr((run.training_key, run.seed, run.tests, run.after))
        if key in seen:
            raise ValueError(
                f'{seen[key].name} and {run.name} are the same run: config {run.config!r} with '
                f'options {dict(run.options)}'
            )
        seen[key] = run


def _check_keys(where: str, entry: Any, allowed: Iterable[str], needed: Iterable[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f'{where} must be a mapping, got {entry!r}')
    for key in entry:
        if key not in allowed:
            raise ValueError(
                f'{where} has an unknown entry {key!r}{nearest(str(key), allowed)}; '
                f'allowed are {", ".join(allowed)}'
            )
    for key in needed:
        if not entry.get(key):
            raise ValueError(f'{where} has no {key}')


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f'{where} must be a mapping of dotted keys to values, got {value!r}')
    return value
