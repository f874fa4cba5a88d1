"""Average precision of oriented boxes at several IoU thresholds, each overlap computed once.

The numbers are those of ``DOTAMetric`` of MMRotate, before it rounds them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

BOX_WIDTHS = {'rbox': 5, 'qbox': 8}  # (x, y, w, h, radians) and four corners
EVAL_MODES = ('11points', 'area')


class Truth(NamedTuple):
    """Labelled boxes of one image, in pixels, of shape (N, 5) or (N, 8)."""

    boxes: np.ndarray
    labels: np.ndarray  # class of each
    ignored_boxes: np.ndarray  # that neither have to be found nor count as wrong
    ignored_labels: np.ndarray


class Detections(NamedTuple):
    """Predicted boxes of one image, in pixels, of shape (N, 5) or (N, 8)."""

    boxes: np.ndarray
    labels: np.ndarray  # class of each
    scores: np.ndarray  # confidence of each


class OrientedAP(NamedTuple):
    """What :func:`oriented_ap` finds."""

    ap: np.ndarray  # (classes, thresholds), in 0 .. 1; NaN for a class without a labelled box
    boxes: np.ndarray  # number of labelled boxes of each class
    detections: np.ndarray  # number of predicted boxes of each class


def oriented_ap(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    num_classes: int,
    iou_thrs: Sequence[float],
    eval_mode: str = '11points',
    box_type: str = 'rbox',
) -> OrientedAP:
    """Average precision per class and threshold; truths and detections have one entry an image.

    As PASCAL VOC's: in the order of their scores, a detection is right if the labelled box of its
    class that it overlaps most reaches the threshold and no better detection has it already. Equal
    scores keep the order of the images and of the detections in them. As in ``DOTAMetric``, ignored
    boxes of an image that has no other boxes are no excuse.
    """
    from mmdet.evaluation.functional import average_precision

    thresholds = np.asarray(iou_thrs, np.float32)
    ap = np.full((num_classes, len(thresholds)), np.nan)
    boxes, counts = np.zeros(num_classes, int), np.zeros(num_classes, int)
    for label in range(num_classes):
        boxes[label] = sum(int((truth.labels == label).sum()) for truth in truths)
        counts[label] = sum(int((found.labels == label).sum()) for found in detections)
        if not boxes[label]:
            continue
        overlap, matched, ignored, scores = _best_overlaps(truths, detections, label, box_type)
        order = np.argsort(-scores, kind='stable')
        right, wrong = _judge(overlap[order], matched[order], ignored[order], thresholds)
        right, wrong = right.cumsum(1, dtype=np.float64), wrong.cumsum(1, dtype=np.float64)
        recalls = right / boxes[label]
        precisions = right / np.maximum(right + wrong, np.finfo(np.float32).eps)
        ap[label] = average_precision(recalls, precisions, eval_mode)
    return OrientedAP(ap, boxes, counts)


def _best_overlaps(
    truths: Sequence[Truth], detections: Sequence[Detections], label: int, box_type: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each detection of a class: IoU with the box it overlaps most, which, ignored?, score."""
    overlap, matched, ignored, scores = [], [], [], []
    first = 0  # number of an image's first box among those of all images
    for truth, found in zip(truths, detections):
        own = found.labels == label
        boxes = truth.boxes[truth.labels == label]
        free: np.ndarray = np.zeros(len(boxes), bool)
        if len(truth.boxes):
            others = truth.ignored_boxes[truth.ignored_labels == label]
            free = np.repeat([False, True], [len(boxes), len(others)])
            boxes = np.concatenate([boxes, others])
        scores.append(found.scores[own])
        if own.any() and len(boxes):
            ious = _ious(found.boxes[own], boxes, box_type)
            best = ious.argmax(1)
            overlap.append(ious[np.arange(len(best)), best])
            matched.append(first + best)
            ignored.append(free[best])
            first += len(boxes)
        else:
            overlap.append(np.full(own.sum(), -1, np.float32))
            matched.append(np.full(own.sum(), -1))
            ignored.append(np.zeros(own.sum(), bool))
    return tuple(np.concatenate(parts) for parts in (overlap, matched, ignored, scores))


def _ious(first: np.ndarray, second: np.ndarray, box_type: str) -> np.ndarray:
    """Overlaps of shape (N, M), by the operators that MMRotate uses."""
    from mmcv import ops

    overlaps = ops.box_iou_rotated if box_type == 'rbox' else ops.box_iou_quadri
    a, b = (torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (first, second))
    return overlaps(a, b).numpy()


def _judge(
    overlap: np.ndarray, matched: np.ndarray, ignored: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong detections, of shape (thresholds, detections); the best come first."""
    right = np.zeros((len(thresholds), len(overlap)), bool)
    wrong = np.zeros_like(right)
    for k, threshold in enumerate(thresholds):
        reaches = overlap >= threshold
        candidates = np.flatnonzero(reaches & ~ignored)
        _, winners = np.unique(matched[candidates], return_index=True)
        right[k, candidates[winners]] = True
        wrong[k] = ~right[k] & ~(reaches & ignored)
    return right, wrong
