"""Settings that are chosen on a validation set, by one plan for use in another.

.. code-block:: yaml

    # tuning.yml
    seeds: [9]
    choose: {test: val, metric: AP50, file: chosen.yml}
    methods:
      l2sp:
        config: configs/l2sp/{detector}_l2sp-1x_{dataset}.py
        trials:
          - {custom_hooks.0.coeff: 0.01}
          - {custom_hooks.0.coeff: 0.1}

    # plan.yml, whose method l2sp then has the better of the two
    chosen: chosen.yml
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml

from ...utils.files import atomic_write
from ...utils.names import nearest
from .plan import Choice, Plan, Run
from .results import SCORES, load_results

Methods = Mapping[str, Mapping[str, Any]]


def with_chosen(methods: Methods, path: Any) -> Methods:
    """Adds the settings of a file that :func:`write_choice` wrote, and what ``like`` refers to.

    Methods that the file does not name stay as they are; what a method's own options say is kept.
    ``{like: NAME}`` has the config and, with its settings, the options of that method.

    Raises:
        ValueError: If the file does not exist or cannot be read, names no method of the plan, or
            ``like`` is no method with a config.
    """
    if path is not None:
        methods = _add_settings(methods, path)
    found = dict(methods)
    for name, entry in methods.items():
        if 'like' in entry:
            other = methods.get(entry['like'])
            if other is None or 'config' not in other or 'config' in entry:
                raise ValueError(
                    f'methods.{name}.like must name a method with a config, whose config is used '
                    f'(so that there is none beside it); got {entry["like"]!r}'
                )
            own = {**(other.get('options') or {}), **(entry.get('options') or {})}
            found[name] = {**entry, 'config': other['config'], 'options': own}
    return found


def _add_settings(methods: Methods, path: Any) -> Methods:
    try:
        chosen = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
        options = {name: dict(entry['options']) for name, entry in chosen.items()}
    except (OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f'chosen: {str(path)!r} is no file of chosen settings ({error}); run the plan with '
            'trials that writes it first'
        ) from None
    if not set(options) & set(methods):
        raise ValueError(f'chosen: {str(path)!r} names no method of the plan: {sorted(options)}')
    return {
        name: {**entry, 'options': {**options.get(name, {}), **(entry.get('options') or {})}}
        for name, entry in methods.items()
    }


def expand(methods: Methods) -> tuple[Methods, dict[str, dict[str, dict[str, Any]]]]:
    """Makes a method of every trial: ``l2sp@1``, ``l2sp@2``, and so on.

    Returns:
        The methods, and the names and options of the trials of each method that has some.

    Raises:
        ValueError: If trials are no list of at least two mappings of options.
    """
    found: dict[str, Mapping[str, Any]] = {}
    trials: dict[str, dict[str, dict[str, Any]]] = {}
    for name, entry in methods.items():
        given = entry.get('trials')
        if given is None:
            found[name] = entry
            continue
        options = given if isinstance(given, list) else []
        if len(options) < 2 or not all(isinstance(o, dict) and o for o in options):
            raise ValueError(
                f'methods.{name}.trials must be a list of at least two mappings of dotted keys to '
                f'values, got {given!r}'
            )
        trials[name] = {f'{name}@{i}': one for i, one in enumerate(options, 1)}
        for trial, own in trials[name].items():
            found[trial] = {**entry, 'options': {**(entry.get('options') or {}), **own}}
    return found, trials


def read_choice(entry: Any, trials: Mapping[str, Any], runs: Sequence[Run]) -> Optional[Choice]:
    """Reads the entry ``choose``; None if the plan has neither trials nor the entry.

    Raises:
        ValueError: If one of the two is there without the other, or it would choose on a test set.
    """
    if entry is None and not trials:
        return None
    if not isinstance(entry, dict) or set(entry) != {'test', 'metric', 'file'} or not trials:
        raise ValueError(
            'a plan whose methods have trials needs choose: {test: NAME, metric: AP50, file: FILE}'
            f', and without trials there is nothing to choose; got choose: {entry!r}'
        )
    if entry['metric'] not in SCORES:
        hint = nearest(str(entry['metric']), SCORES)
        raise ValueError(f'choose.metric must be one of {SCORES}, got {entry["metric"]!r}{hint}')
    for run in runs:
        splits = {test.name: test.split for test in run.tests}
        if splits.get(entry['test']) != 'val':
            raise ValueError(
                f'choose.test must be a test set with split: val ({run.dataset} has {splits}); a '
                f'setting is never chosen on a test split; got {entry["test"]!r}'
            )
    return Choice(entry['test'], entry['metric'], Path(entry['file']), trials)


def write_choice(plan: Plan) -> Path:
    """Writes the best trial of every method into the choice's file, which it returns.

    The score of a trial is the mean over its runs; of equal ones the first is taken.

    Raises:
        ValueError: If a trial has no result yet.
    """
    choice = plan.choice
    assert choice is not None
    chosen = {}
    finished = {r.name: r for r in load_results(plan.work_dir) if r.state == 'finished'}
    for method, trials in choice.trials.items():
        scores = {}
        for trial in trials:
            own = [run.name for run in plan.runs if run.method == trial]
            results = [finished[name] for name in own if name in finished]
            done = [result.scores[choice.test][choice.metric] for result in results]
            if len(done) < len(own):
                raise ValueError(f'{method}: its trial {trial} is not finished; nothing is chosen')
            scores[trial] = sum(done) / len(done)
        best = max(trials, key=scores.__getitem__)
        tried = [
            {'options': dict(trials[t]), choice.metric: round(s, 4)} for t, s in scores.items()
        ]
        chosen[method] = dict(options=dict(trials[best]), trials=tried)
    with atomic_write(choice.file) as file:
        file.write(
            f'# Chosen by {choice.metric} on {choice.test!r}; written by\n'
            f'#   python tools/benchmark.py {plan.path}\n'
        )
        yaml.safe_dump(chosen, file, sort_keys=False)
    return choice.file
