"""A detector that knows the labels and lets the pixels decide how far off it is."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


def offset(image) -> float:
    """0 to 1, another for almost every picture; uint8 of any layout."""
    return int(image.astype('int64').sum()) % 97 / 97


@MODELS.register_module(force=True)
class Oracle(BaseModel):
    """Moves every true box to the right by ``reach`` pixels times the picture's offset.

    Args:
        backbone: Ignored; every detector has one.
        answers: What it calls each label; default is its right name.
    """

    def __init__(self, backbone=None, data_preprocessor=None, answers=None):
        super().__init__(data_preprocessor)
        self.reach = torch.nn.Parameter(torch.tensor(4.0))
        self.answers = answers

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples):
            truth = sample.gt_instances
            boxes = getattr(truth.bboxes, 'tensor', truth.bboxes).clone()
            boxes[:, 0] += self.reach.item() * offset(image.round().byte().numpy())
            labels = truth.labels
            if self.answers is not None:
                labels = torch.tensor(self.answers)[labels]
            scores = torch.linspace(0.9, 0.1, len(labels))
            sample.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
        return data_samples
