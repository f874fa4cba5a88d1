# Mask R-CNN on NAS-FPN: see faster-rcnn_r50_nasfpn_coco.py for the reasons of every number.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(frozen_stages=-1),
    neck=dict(
        _delete_=True,
        type='NASFPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        num_outs=5,
        start_level=1,
        stack_times=7,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    rpn_head=dict(anchor_generator=dict(scales=[4], strides=[8, 16, 32, 64, 128])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[8, 16, 32, 64], finest_scale=112),
        mask_roi_extractor=dict(featmap_strides=[8, 16, 32, 64], finest_scale=112),
    ),
)
