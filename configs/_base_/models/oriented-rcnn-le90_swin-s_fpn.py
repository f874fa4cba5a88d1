# `_base_` stays above the import: with the import first, mmengine would take this for a new-style
# config, which cannot inherit old-style ones.
_base_ = '../optimizers/adamw.py'

from mmengine.hub import get_config  # noqa: E402

# mmrotate's detector on mmdet's Swin-S with its ImageNet-1K checkpoint. The hook turns the
# backbone's drop path off in frozen epochs, so that frozen features are the same every time.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.backbone = get_config(
    'mmdet::swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco.py'
).model.backbone
model.backbone.type = 'mmdet.SwinTransformer'
model.neck.in_channels = [96, 192, 384, 768]
