# mmdet's cascade of three heads, class-agnostic boxes and averaged scores, on NAS-FPN: see
# faster-rcnn_r50_nasfpn_coco.py for the reasons of every number of the neck.
_base_ = 'mmdet::_base_/models/cascade-rcnn_r50_fpn.py'

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
    roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[8, 16, 32, 64], finest_scale=112)),
    # The authors' files raise the IoU from 0.5 to 0.7 and 0.8; mmdet's cascade to 0.6 and 0.7.
    train_cfg=dict(
        rcnn=[
            dict(
                stage,
                assigner=dict(stage.assigner, pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou),
            )
            for stage, iou in zip(_base_.model.train_cfg.rcnn, (0.5, 0.7, 0.8))
        ]
    ),
)
