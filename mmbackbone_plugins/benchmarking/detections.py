"""Labels and detections of a few test images, kept for pictures in the report."""

from typing import Any, Optional

import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from ..freezing.ddp import unwrap

LOWEST = 0.3  # score below which a detection is not kept


def look_at_images(model: nn.Module, dataset: Any, domain: str, count: int) -> list[dict[str, Any]]:
    """Detects in the first images of a test set.

    Args:
        model: The detector; left in eval mode.
        dataset: The test set, with annotations in its pipeline.
        domain: The test set's name.
        count: Number of images.

    Returns:
        Per image ``domain``, ``path``, ``truth`` and ``found``: corners (N lists of 8 numbers, in
        pixels of the file), ``labels`` and, of detections, ``scores``.
    """
    model = unwrap(model)
    model.eval()
    looks = []
    for index in range(min(count, len(dataset))):
        data = dataset[index]
        sample = data['data_samples']
        factor = sample.get('scale_factor', (1.0, 1.0))
        with torch.no_grad():
            found = model.test_step(pseudo_collate([data]))[0].pred_instances
        found = found[found.scores > LOWEST]
        looks.append(
            dict(
                domain=domain,
                path=str(sample.img_path),
                truth=_boxes(sample.gt_instances, factor),
                found=dict(_boxes(found), scores=found.scores.tolist()),
            )
        )
    return looks


def _boxes(instances: Any, factor: Optional[tuple[float, float]] = None) -> dict[str, Any]:
    rows = instances.bboxes
    rows = getattr(rows, 'tensor', rows).detach().cpu()
    if rows.shape[-1] == 5:
        from mmrotate.structures.bbox import rbox2qbox

        rows = rbox2qbox(rows)
    elif rows.shape[-1] == 4:
        left, top, right, bottom = rows.unbind(-1)
        rows = torch.stack([left, top, right, top, right, bottom, left, bottom], -1)
    if factor is not None:  # labels are in the pixels of the resized image, detections are not
        rows = rows / rows.new_tensor(factor).repeat(4)
    return dict(
        quads=[[round(v, 2) for v in row] for row in rows.tolist()],
        labels=instances.labels.tolist(),
    )
