# `_base_` stays above the import: see oriented-rcnn-le90_swin-s_fpn.py.
_base_ = '../optimizers/adamw.py'

from mmengine.hub import get_config  # noqa: E402

# As with Swin-S, on mmdet's Swin-T.
model = get_config('mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py').model
model.backbone = get_config('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py').model.backbone
model.backbone.type = 'mmdet.SwinTransformer'
model.neck.in_channels = [96, 192, 384, 768]
