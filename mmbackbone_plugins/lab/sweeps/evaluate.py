"""One detector on one test set: what a sweep does over and over."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR, init_default_scope
from mmengine.runner import Runner

from ...utils.names import type_name
from .. import inputs

EvaluatorConfig = Union[dict[str, Any], Sequence[dict[str, Any]]]

# They decide how fast pictures are read, and nothing else.
_SPEED_ONLY = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')


def labelled_split(cfg: Config, split: str) -> tuple[dict[str, Any], EvaluatorConfig]:
    """Loader and evaluator of a config's split, as copies.

    Raises:
        ValueError: If the config has none, or the split has no labels to compare with.
    """
    loader, evaluator = cfg.get(f'{split}_dataloader'), cfg.get(f'{split}_evaluator')
    if not loader or not evaluator:
        raise ValueError(f'the config has no {split}_dataloader with a {split}_evaluator')
    metrics = [evaluator] if isinstance(evaluator, dict) else evaluator
    packs = inputs.packed(loader)
    if packs:
        raise ValueError(
            f'the {split} pipeline ends with {packs}: this tool scores the boxes of detectors, and '
            'a segmentor or classifier has none'
        )
    if any(metric.get('format_only') for metric in metrics):
        other = 'val' if split == 'test' else 'test'
        raise ValueError(
            f'the {split} split of this config has no public labels (format_only=True): '
            f'use --split {other}'
        )
    return copy.deepcopy(loader.to_dict()), copy.deepcopy(_plain(evaluator))


def oriented_evaluator(evaluator: EvaluatorConfig, **options: Any) -> EvaluatorConfig:
    """``OrientedMetric`` in place of ``DOTAMetric``, with its options; others stay."""
    if not isinstance(evaluator, dict):
        return [oriented_evaluator(metric, **options) for metric in evaluator]
    kind = type_name(evaluator)
    if kind not in ('DOTAMetric', 'OrientedMetric'):
        return evaluator
    kept = {k: evaluator[k] for k in ('predict_box_type', 'eval_mode') if k in evaluator}
    return dict(type='OrientedMetric', **kept, **options)


def identity(loader: dict[str, Any]) -> dict[str, Any]:
    """What of a loader's config the scores depend on."""
    return {key: value for key, value in loader.items() if key not in _SPEED_ONLY}


def evaluate(
    model: torch.nn.Module, scope: str, loader: dict[str, Any], evaluator: EvaluatorConfig
) -> dict[str, float]:
    """All scores of a detector on a test set, without a runner and its work dir.

    Raises:
        ValueError: If the test set is empty.
    """
    init_default_scope(scope)
    # Workers of this loader end with it.
    loader = dict(copy.deepcopy(loader), persistent_workers=False)
    data = Runner.build_dataloader(Config(dict(loader=loader)).loader, seed=0)
    if not len(data.dataset):
        raise ValueError(f'the test set {type_name(loader["dataset"])!r} is empty')
    judge = _build(evaluator)
    judge.dataset_meta = getattr(data.dataset, 'metainfo', None)
    model.eval()
    with torch.no_grad():
        for batch in data:
            judge.process(data_samples=model.test_step(batch), data_batch=batch)
    found = judge.evaluate(len(data.dataset))
    numbers = (int, float)
    return {name: float(v) for name, v in found.items() if isinstance(v, numbers)}


def default_score(names: Sequence[str]) -> str:
    """The score that stands for a test set, its mAP; ValueError if no name is one."""
    for suffix in ('/mAP', 'mAP', '_mAP', '/AP50'):
        found = [name for name in names if name.endswith(suffix)]
        if found:
            return min(found, key=lambda name: name.count('/'))
    raise ValueError(f'none of the scores is a mAP: {list(names)}; name one with --score')


def is_precision(name: str) -> bool:
    """Whether a score is an average precision, of all classes or of one."""
    last = name.rsplit('/', 1)[-1].rsplit('_', 1)[-1]
    return last == 'mAP' or (last.startswith('AP') and last[2:].isdigit())


def json_numbers(scores: Mapping[str, float]) -> dict[str, Optional[float]]:
    """Scores for a file: NaN has no place in JSON."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _plain(config: Any) -> Any:
    if hasattr(config, 'to_dict'):
        return config.to_dict()
    return [_plain(item) for item in config] if isinstance(config, (list, tuple)) else config


def _build(evaluator: EvaluatorConfig) -> Evaluator:
    wrapped = Config(dict(evaluator=evaluator)).evaluator
    if isinstance(wrapped, dict) and 'metrics' in wrapped:
        return EVALUATOR.build(dict(dict(type='Evaluator'), **wrapped))
    return Evaluator(wrapped)
