# `_base_` stays above the import: see oriented-rcnn-le90_swin-s_fpn.py.
_base_ = '../optimizers/adamw.py'

from mmengine.hub import get_config  # noqa: E402

# mmrotate's detector on mmpretrain's ConvNeXt-T, as mmdet's Mask R-CNN has it.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.backbone = get_config(
    'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
).model.backbone
model.neck.in_channels = [96, 192, 384, 768]
