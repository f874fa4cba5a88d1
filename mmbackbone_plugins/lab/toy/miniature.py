"""A config of the zoo at a hundredth of its size, to try it out in seconds on drawn scenes."""

from pathlib import Path
from typing import Any, Union

from ...utils.names import type_name

CHANNELS = 8  # of the first stage of the backbone; a ResNet-18 doubles them in each
WIDTH = 16  # of neck and heads


def miniature(cfg: Any, data_root: Union[str, Path]) -> Any:
    """Shrinks a config of a rotated detector with a ResNet and an FPN, in place.

    Method, schedule and pipelines stay; weights are random, so nothing is fetched. ``data_root``
    has drawn scenes in the layout of the config's data set.
    """
    model = cfg.model
    outer = model.backbone
    backbone = outer.backbone if type_name(outer) == 'StageBlockBackbone' else outer
    backbone.update(depth=18, base_channels=CHANNELS, init_cfg=None)
    if 'per_stage' in outer:
        outer.per_stage.reduction = [2, 2, 2, 2]
    model.neck.update(in_channels=[CHANNELS * 2**i for i in range(4)], out_channels=WIDTH)
    for head in ('bbox_head', 'rpn_head'):
        if head in model:
            model[head].update(in_channels=WIDTH, feat_channels=WIDTH)
    if 'bbox_head' in model:
        model.bbox_head.stacked_convs = 1
    else:
        model.roi_head.bbox_roi_extractor.out_channels = WIDTH
        model.roi_head.bbox_head.update(in_channels=WIDTH, fc_out_channels=2 * WIDTH)
        model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=100)
        model.train_cfg.rcnn.sampler.num = 32  # pooling is what takes long on a CPU
        model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = f'{data_root}/'
        for step in loader.dataset.pipeline:
            if type_name(step) == 'Resize':
                step.scale = (64, 64)
    cfg.default_hooks.logger.interval = 1
    cfg.param_scheduler = None  # the warm-up alone is longer than such a run
    return cfg
