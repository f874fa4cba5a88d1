_base_ = [
    '../_base_/settings/faster-rcnn_r50_fpn_72e_coco.py',
    '../_base_/methods/frozen.py',
]

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')),
)
