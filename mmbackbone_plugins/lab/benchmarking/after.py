"""Methods without a training of their own: weights between two of another method's training.

.. code-block:: yaml

    methods:
      dp-ft: configs/dp_ft/{detector}_dp-ft-1x_{dataset}.py
      wise:
        config: configs/dp_ft/{detector}_dp-ft-1x_{dataset}.py
        after: {interpolate: {start: probed, choose: val}}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable

from mmengine.dist import is_main_process
from mmengine.runner import Runner

from ...distortion.interpolation import check_weight
from ...hooks.probed import PROBED
from ...utils.files import atomic_write
from ...utils.wrappers import unwrap
from ..sweeps.interpolation import Ends, choose
from .plan import Domain, Run

WEIGHTS = [i / 10 for i in range(11)]
CHOSEN, SCORES = 'chosen.pth', 'interpolation.json'


def read_after(where: str, entry: Any) -> dict[str, Any]:
    """Reads the entry ``after`` of a method, which stands at ``where``; None: there is none.

    Returns:
        ``weights`` (the places; default is eleven from 0 to 1) and ``choose`` (the validation set:
        ``'val'`` or a mapping like a test set's); empty if there is no entry.

    Raises:
        ValueError: If it is anything else, or would choose on a test set.
    """
    if entry is None:
        return {}
    given = entry.get('interpolate') if isinstance(entry, Mapping) and len(entry) == 1 else None
    if not isinstance(given, Mapping) or not set(given) <= {'start', 'choose', 'weights'}:
        raise ValueError(
            f'{where} must be {{interpolate: {{start: probed, choose: val}}}}, with weights: [0, '
            f'0.5, 1] if others are wanted; got {entry!r}'
        )
    if given.get('start') != 'probed':
        raise ValueError(f"{where}.start must be 'probed', got {given.get('start')!r}")
    chosen = given.get('choose')
    domain = dict(chosen) if isinstance(chosen, Mapping) else dict(split=chosen)
    unknown = set(domain) - {'split', 'config', 'options', 'metric'}
    if unknown or domain.setdefault('split', 'val') != 'val':
        raise ValueError(
            f'{where}.choose must be val, or a mapping of options and metric of another validation '
            f'set; a weight is never chosen on a test set; got {chosen!r}'
        )
    weights = given.get('weights', WEIGHTS)
    if not isinstance(weights, list) or not weights:
        raise ValueError(f'{where}.weights must be a list of numbers from 0 to 1, got {weights!r}')
    weights = sorted({check_weight(weight) for weight in weights})
    return dict(weights=weights, choose=asdict(Domain('choose', **domain)))


def link(runs: Sequence[Run]) -> list[Run]:
    """Finds the training of every run without one, and lets it keep its probed weights.

    Raises:
        ValueError: If no method trains that config with those options, or a test set is the one
            that is chosen on.
    """

    def training_of(run: Run) -> tuple[Any, ...]:
        return run.dataset, run.detector, run.seed, run.training_key

    trainings = {training_of(run): run for run in runs if not run.after}
    needed = set()
    found = []
    for run in runs:
        if not run.after:
            found.append(run)
            continue
        training = trainings.get(training_of(run))
        if training is None:
            raise ValueError(
                f'methods.{run.method}.after: no other method trains {run.config!r} with the same '
                'options; add one, whose training is then used'
            )
        picked = {**run.after['choose'], 'metric': None}
        for test in run.tests:
            if (
                test.name not in run.validation
                and {**asdict(test), 'metric': None, 'name': 'choose'} == picked
            ):
                raise ValueError(
                    f'methods.{run.method}.after: choose: the test set {test.name!r} is the '
                    'validation set, and a weight is never chosen on a test set; name it under '
                    'validation, or give choose options of other pictures'
                )
        needed.add(training.name)
        own = run.after['choose']
        if own['metric'] is None and run.tests:  # whatever the tests are scored by
            own = {**own, 'metric': run.tests[0].metric}
        found.append(replace(run, after={**run.after, 'choose': own, 'training': training.method}))
    return [replace(r, keep_probed=True) if r.name in needed or r.after else r for r in found]


def between(
    runner: Runner,
    folder: Any,
    score: Callable[[Domain], float],
    say_done: Callable[[float], None] = lambda done: None,
) -> tuple[float, Path]:
    """Scores the places between the ends of a finished training, and loads the best of them.

    Scores that an earlier start has computed are read from ``interpolation.json``. The model of the
    runner, of the training's config, gets the weights; ``score`` scores it on a validation set.

    Returns:
        The place, and the checkpoint that was written.

    Raises:
        ValueError: If the training is not finished, or has kept no probed weights.
    """
    training = folder.training
    if not folder.ready:
        raise ValueError(f'{training} is not finished: its training is used; run it first')
    start = training.path / 'train' / PROBED
    if not start.is_file():
        raise ValueError(f'{start} is not there: run {training.run.name} anew')
    ends = Ends(str(start), str(training.path / training.result().checkpoint))
    after, path = folder.run.after, folder.path / SCORES
    known = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    scores = known.get('scores', {}) if known.get('ends') == list(ends.hashes) else {}
    model = unwrap(runner.model)
    for number, weight in enumerate(after['weights']):
        if f'{weight:g}' not in scores:
            model.load_state_dict(ends.state(weight))
            scores[f'{weight:g}'] = score(Domain(**after['choose']))
        if is_main_process():
            with atomic_write(path) as file:
                json.dump(dict(ends=ends.hashes, scores=scores), file)
            say_done((number + 1) / len(after['weights']))
    best = choose({float(w): dict(val=dict(mAP=s)) for w, s in scores.items()}, 'val', 'mAP')
    model.load_state_dict(ends.state(best))
    if is_main_process():
        ends.save(best, folder.path / CHOSEN)
    return best, folder.path / CHOSEN
