"""Labels and detections of a few test images, kept for pictures in the report.

A pipeline may resize, pad or flip, before it loads the labels or after: both are brought to the
pixels of the file, which is what is drawn on.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Optional

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from ...utils.wrappers import unwrap

LOWEST = 0.3  # score below which a detection is not kept


def look_at_images(model: nn.Module, dataset: Any, domain: str, count: int) -> list[dict[str, Any]]:
    """What :func:`look_at_image` says of the images with the most labels of a set ``domain``."""
    labels = [len(_labels(dataset.get_data_info(i))) for i in range(len(dataset))]
    indices = sorted(range(len(dataset)), key=lambda i: -labels[i])[:count]
    return [dict(domain=domain, **look_at_image(model, dataset, i)) for i in indices]


def look_at_image(model: nn.Module, dataset: Any, index: int) -> dict[str, Any]:
    """Detects in one image of a test set; the detector is left in eval mode.

    Returns:
        ``path``, ``truth`` and ``found``: corners (N lists of 8 numbers, in pixels of the file),
        ``labels`` and, of detections, ``scores``. Labels that the data set ignores are left out.
    """
    model = unwrap(model)
    model.eval()
    record = dataset.get_data_info(index)
    data, warp = _prepare(dataset, index)
    # A detector takes the resizing back, and nothing else that was done to the picture.
    scale = np.diag([*data['data_samples'].get('scale_factor', (1.0, 1.0)), 1.0])
    back = np.eye(3) if warp is None else np.linalg.inv(warp) @ scale
    with torch.no_grad():
        found = model.test_step(pseudo_collate([data]))[0].pred_instances
    found = found[found.scores > LOWEST]
    labels = _labels(record)
    return dict(
        path=str(record['img_path']),
        truth=dict(
            quads=_rounded(_corners(one['bbox']) for one in labels),
            labels=[int(one['bbox_label']) for one in labels],
        ),
        found=dict(
            quads=_rounded(
                cv2.perspectiveTransform(_corners(row)[None], back)[0]
                for row in getattr(found.bboxes, 'tensor', found.bboxes).cpu().tolist()
            ),
            labels=found.labels.tolist(),
            scores=found.scores.tolist(),
        ),
    )


def _labels(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in record.get('instances', ()) if not one.get('ignore_flag')]


def _prepare(dataset: Any, index: int) -> tuple[Mapping[str, Any], Optional[np.ndarray]]:
    """An image as the model gets it, and the matrix that moved its pixels, if that was recorded."""
    while not hasattr(dataset, 'pipeline'):  # wrappers: of several sets, or of a repeated one
        place = dataset._get_ori_dataset_idx(index)
        which, index = place if isinstance(place, tuple) else (None, place)
        dataset = dataset.dataset if which is None else dataset.datasets[which]
    data, warp = dataset.get_data_info(index), None
    for step in dataset.pipeline.transforms:
        data = step(data)
        warp = data.get('homography_matrix', warp)
    return data, warp


def _corners(box: Any) -> np.ndarray:
    """Four corners, of shape (4, 2), of a box in any notation."""
    if len(box) == 5:
        from mmrotate.structures.bbox import rbox2qbox

        box = rbox2qbox(torch.tensor([box], dtype=torch.float32))[0].tolist()
    elif len(box) == 4:
        left, top, right, bottom = box
        box = (left, top, right, top, right, bottom, left, bottom)
    return np.array(box, float).reshape(4, 2)


def _rounded(quads: Iterable[np.ndarray]) -> list[list[float]]:
    return [[round(float(v), 2) for v in quad.flat] for quad in quads]
