"""The metric that configs name."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from ..utils.checks import flag
from ..utils.names import arguments_by_name
from ..utils.text import table
from .class_map import common_classes, named_classes, named_map
from .oriented_ap import BOX_WIDTHS, EVAL_MODES, Detections, OrientedAP, Truth, oriented_ap

_NAMED = (50, 75)  # thresholds, in percent, that have a score of their own for every class


@METRICS.register_module()
@arguments_by_name()
class OrientedMetric(BaseMetric):
    """mAP of oriented boxes over IoU thresholds, and of every class.

    The scores are those of MMRotate's ``DOTAMetric``, not rounded and for all thresholds from one
    computation in this process. Under the prefix (``oriented/mAP``, ...):

    - ``mAP``: mean over thresholds of the mean over classes; ``AP50``, ``AP75``, ...: at one.
    - ``<class>/mAP``, ``<class>/AP50``, ``<class>/AP75``: NaN for a class without a labelled box,
      which is in no mean. Without any labelled box every score is NaN (``DOTAMetric``: 0).
    - ``images``, ``boxes``, ``<class>/boxes``: what the scores are of.

    Args:
        iou_thrs: IoU threshold or thresholds; default is 0.5, 0.55, ..., 0.95.
        eval_mode: ``'11points'`` (VOC 2007, as DOTA's own and ``DOTAMetric``'s default) or
            ``'area'`` under the precision-recall curve.
        predict_box_type: ``'rbox'`` (x, y, w, h, angle) or ``'qbox'`` (four corners).
        class_map: Scores common classes instead of those of the test set: ``'dota-dior'``, or a
            dict of names that mean the same thing by common name. Boxes of other classes, labelled
            or predicted, are left out.
        predicted_classes: What predicted labels stand for, where that is not the test set's list:
            ``'dota'``, ``'dior'`` or a list of names. Needs ``class_map``.
        classwise: Whether the scores of each class are among the results and in a table.
        collect_device: ``'cpu'`` or ``'gpu'``, see ``BaseMetric``.
        prefix: What the names begin with; default is ``'oriented'``.

    Raises:
        ValueError: If an argument is not one of the above; when images are scored, if their boxes
            are of the other type.

    Examples:
        >>> custom_imports = dict(imports=['mmbackbone_plugins'], allow_failed_imports=False)
        >>> val_evaluator = dict(type='OrientedMetric')
        >>> # a detector of DOTA's classes on the pictures and labels of DIOR-R
        >>> test_evaluator = dict(
        ...     type='OrientedMetric', class_map='dota-dior', predicted_classes='dota'
        ... )
    """

    default_prefix: Optional[str] = 'oriented'

    def __init__(
        self,
        iou_thrs: Optional[Union[float, Sequence[float]]] = None,
        eval_mode: str = '11points',
        predict_box_type: str = 'rbox',
        class_map: Optional[Union[str, Mapping[str, Sequence[str]]]] = None,
        predicted_classes: Optional[Union[str, Sequence[str]]] = None,
        classwise: bool = True,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_thrs = _thresholds(iou_thrs)
        if eval_mode not in EVAL_MODES:
            raise ValueError(f'eval_mode must be one of {EVAL_MODES}, got {eval_mode!r}')
        if not isinstance(predict_box_type, str) or predict_box_type not in BOX_WIDTHS:
            raise ValueError(
                f'predict_box_type must be one of {tuple(BOX_WIDTHS)}, got {predict_box_type!r}'
            )
        self.eval_mode, self.predict_box_type = eval_mode, predict_box_type
        self.classwise = flag('classwise', classwise)
        if predicted_classes is not None and class_map is None:
            raise ValueError(f'predicted_classes={predicted_classes!r} needs a class_map')
        self.class_map = None if class_map is None else named_map(class_map)
        self.predicted_classes = predicted_classes and named_classes(predicted_classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if 'pred_instances' not in sample:
                raise ValueError(
                    'OrientedMetric scores oriented boxes, and this model predicts none '
                    f'({", ".join(sample)}): it is for detectors; segmentors have IoUMetric, '
                    'classifiers Accuracy'
                )
            found, ignored = sample['pred_instances'], sample.get('ignored_instances') or {}
            labelled = self._boxes(sample['gt_instances'], 'labelled')
            truth = Truth(*labelled, *self._boxes(ignored, 'ignored'))
            detections = Detections(*self._boxes(found, 'predicted'), _array(found['scores']))
            self.results.append((truth, detections))

    def compute_metrics(self, results: list) -> dict[str, float]:
        # mmengine makes plain tuples of named ones.
        truths = [Truth(*truth) for truth, _ in results]
        detections = [Detections(*found) for _, found in results]
        classes = self.dataset_meta['classes']
        if self.class_map is not None:
            common = common_classes(self.class_map, self.predicted_classes or classes, classes)
            classes = common.names
            truths = [_renamed_truth(truth, common.labelled) for truth in truths]
            detections = [_renamed(found, common.predicted) for found in detections]
        found = oriented_ap(
            truths, detections, len(classes), self.iou_thrs, self.eval_mode, self.predict_box_type
        )
        counted = found.boxes > 0
        if not counted.any():
            print_log(
                'OrientedMetric: no labelled box in these images, so there is no score (NaN)',
                logger='current',
                level=logging.WARNING,
            )
        scores = self._scores(found.ap[counted])
        scores.update(images=float(len(results)), boxes=float(found.boxes.sum()))
        if self.classwise:
            for label, name in enumerate(classes):
                own = self._scores(found.ap[label : label + 1])
                kept = ('mAP', *(f'AP{p}' for p in _NAMED))
                scores.update({f'{name}/{key}': own[key] for key in kept if key in own})
                scores[f'{name}/boxes'] = float(found.boxes[label])
            print_log('\n' + self._table(classes, found), logger='current')
        return scores

    def _scores(self, ap: np.ndarray) -> dict[str, float]:
        """Means over classes; ``ap`` has a row for each."""
        means = ap.mean(0) if len(ap) else np.full(len(self.iou_thrs), math.nan)
        scores = {'mAP': float(means.mean())}
        for threshold, mean in zip(self.iou_thrs, means):
            scores[f'AP{_percent(threshold):02d}'] = float(mean)
        return scores

    def _table(self, classes: Sequence[str], found: OrientedAP) -> str:
        keys = ['mAP', *(f'AP{p}' for p in map(_percent, self.iou_thrs) if p in _NAMED)]
        rows = [['class', 'boxes', 'detections', *keys]]

        def add(name: str, boxes: int, detections: int, ap: np.ndarray) -> None:
            scores = self._scores(ap)
            shown = ['-' if math.isnan(scores[key]) else f'{scores[key]:.3f}' for key in keys]
            rows.append([name, f'{boxes:,}', f'{detections:,}', *shown])

        for label, name in enumerate(classes):
            add(name, found.boxes[label], found.detections[label], found.ap[label : label + 1])
        add('all', found.boxes.sum(), found.detections.sum(), found.ap[found.boxes > 0])
        return table(rows)

    def _boxes(self, instances: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and labels of some instances of an image, which may lack them."""
        width = BOX_WIDTHS[self.predict_box_type]
        boxes, labels = instances.get('bboxes'), instances.get('labels')
        if boxes is None or labels is None or not len(labels):
            return np.zeros((0, width), np.float32), np.zeros(0, int)
        boxes = _array(boxes)
        if boxes.shape[1:] != (width,):
            raise ValueError(
                f'predict_box_type={self.predict_box_type!r} means {width} numbers a box, but the '
                f'{what} boxes of an image have the shape {boxes.shape}: ConvertBoxType in the '
                'test pipeline sets the type of the labels, the head that of the predictions'
            )
        return boxes, _array(labels)


def _thresholds(given: Optional[Union[float, Sequence[float]]]) -> list[float]:
    if given is None:
        given = [percent / 100 for percent in range(50, 100, 5)]
    values: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if not values or len(numbers) < len(values) or not all(0 < v <= 1 for v in values):
        raise ValueError(f'iou_thrs must be numbers above 0 and up to 1, got {given!r}')
    if len({_percent(v) for v in values}) < len(values):
        raise ValueError(f'iou_thrs must differ by at least 0.01, got {given!r}')
    return [float(v) for v in values]


def _percent(threshold: float) -> int:
    return round(threshold * 100)


def _array(values: Any) -> np.ndarray:
    """A tensor, or a box type of MMDetection, in main memory."""
    values = getattr(values, 'tensor', values)
    return values.detach().cpu().numpy() if hasattr(values, 'detach') else np.asarray(values)


def _renamed(found: Detections, places: Sequence[int]) -> Detections:
    if len(found.labels) and found.labels.max() >= len(places):
        raise ValueError(
            f'predicted_classes has {len(places)} names, but the detector predicts the label '
            f'{found.labels.max()}: name the classes that it was trained with, in their order'
        )
    return Detections(*_common(places, found.labels, found.boxes, found.scores))


def _renamed_truth(truth: Truth, places: Sequence[int]) -> Truth:
    return Truth(*_common(places, truth[1], truth[0]), *_common(places, truth[3], truth[2]))


def _common(places: Sequence[int], labels: np.ndarray, boxes: np.ndarray, *more: np.ndarray) -> Any:
    """Boxes, new labels and more of those that have one."""
    labels = np.asarray(places, int)[labels]
    return [part[labels >= 0] for part in (boxes, labels, *more)]
