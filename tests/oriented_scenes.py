"""Random oriented boxes, what a detector might make of them, and their score by plain loops."""

import math

import numpy as np
from mmengine.structures import InstanceData

from mmbackbone_plugins.metrics import Detections, Truth


def rboxes(rng, count):
    """Well separated boxes of (x, y, w, h, angle) in an image of 300 pixels."""
    places = rng.permutation(36)[:count]
    centers = np.stack([places % 6, places // 6], 1) * 50 + 25 + rng.uniform(-6, 6, (count, 2))
    sides = rng.uniform(12, 44, (count, 2))
    angles = rng.uniform(-np.pi / 2, np.pi / 2, (count, 1))
    return np.concatenate([centers, sides, angles], 1).astype(np.float32)


def scene(rng, classes, absent=(), unseen=(), ignored=2, empty=False):
    """One image: objects of all classes but ``absent``; none of ``unseen`` is detected."""
    count = 0 if empty else int(rng.integers(1, 14))
    boxes = rboxes(rng, count + ignored)
    labels = rng.choice([c for c in range(classes) if c not in absent], len(boxes))
    keep = rng.random(len(boxes)) < 0.85
    found = np.concatenate([boxes[keep], boxes[keep][: count // 2]])  # some twice
    shift = rng.normal(0, 1, found.shape) * [1.2, 1.2, 1.2, 1.2, 0.04]
    found = np.concatenate([found + shift, rboxes(rng, 3)]).astype(np.float32)
    guess = np.concatenate([labels[keep], labels[keep][: count // 2], [0, 0, 0]])
    guess = np.where(rng.random(len(guess)) < 0.1, rng.integers(classes, size=len(guess)), guess)
    own = ~np.isin(guess, unseen)
    scores = rng.random(len(guess)).astype(np.float32)
    return (
        Truth(boxes[:count], labels[:count], boxes[count:], labels[count:]),
        Detections(found[own], guess[own], scores[own]),
    )


def samples(truths, detections):
    """The same as data samples of MMEngine's evaluator."""
    import torch

    made = []
    for i, (truth, found) in enumerate(zip(truths, detections)):
        as_tensors = [[torch.from_numpy(np.asarray(x)) for x in item] for item in (truth, found)]
        (boxes, labels, other, other_labels), (hits, guess, scores) = as_tensors
        made.append(
            dict(
                img_id=f'P{i:04d}',
                gt_instances=InstanceData(bboxes=boxes, labels=labels).to_dict(),
                ignored_instances=InstanceData(bboxes=other, labels=other_labels).to_dict(),
                pred_instances=InstanceData(bboxes=hits, labels=guess, scores=scores).to_dict(),
            )
        )
    return made


def corners(box):
    x, y, w, h, angle = map(float, box)
    cos, sin = math.cos(angle), math.sin(angle)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    half = [(a * w / 2, b * h / 2) for a, b in signs]
    return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in half]


def area(points):
    pairs = zip(points, points[1:] + points[:1])
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)) / 2


def iou(first, second):
    """Overlap of two rotated boxes in float64, one cut off at each side of the other."""
    inside, frame = corners(first), corners(second)
    for (ax, ay), (bx, by) in zip(frame, frame[1:] + frame[:1]):

        def side(p, ax=ax, ay=ay, bx=bx, by=by):
            return (bx - ax) * (p[1] - ay) - (by - ay) * (p[0] - ax)

        kept = []
        for p, q in zip(inside, inside[1:] + inside[:1]):
            if side(p) >= 0:
                kept.append(p)
            if side(p) * side(q) < 0:
                t = side(p) / (side(p) - side(q))
                kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
        inside = kept
    common = area(inside) if len(inside) > 2 else 0.0
    return common / (area(corners(first)) + area(corners(second)) - common)


def plain_ap(truths, detections, label, threshold, mode):
    """Average precision of a class, detection by detection."""
    todo = []
    for image, found in enumerate(detections):
        for box, own, score in zip(*found):
            if own == label:
                todo.append((float(score), image, box))
    todo.sort(key=lambda item: -item[0])
    total = sum(int(own == label) for truth in truths for own in truth.labels)
    if not total:
        return math.nan
    taken, right, wrong, curve = set(), 0, 0, []
    for _, image, box in todo:
        truth = truths[image]
        rivals = [(iou(box, b), i, False) for i, b in enumerate(truth.boxes)]
        rivals = [r for r in rivals if truth.labels[r[1]] == label]
        if len(truth.boxes):  # as DOTAMetric: otherwise nothing is ignored
            others = [(iou(box, b), i, True) for i, b in enumerate(truth.ignored_boxes)]
            rivals += [r for r in others if truth.ignored_labels[r[1]] == label]
        best = max(rivals, default=(0, -1, False))
        if best[0] >= threshold and best[2]:
            pass
        elif best[0] >= threshold and (image, best[1]) not in taken:
            taken.add((image, best[1]))
            right += 1
        else:
            wrong += 1
        curve.append((right / total, right / max(right + wrong, 1)))
    if mode == '11points':
        levels = np.arange(0, 1 + 1e-3, 0.1)
        return sum(max((p for r, p in curve if r >= t), default=0) for t in levels) / 11
    ap, previous = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        ap += (recall - previous) * max(p for _, p in curve[k:])
        previous = recall
    return ap
