# Horizontal: mmdet's cascade of three heads on NAS-FPN, see faster-rcnn_r50_nasfpn_coco.py for the
# reasons of every number of the neck.
_base_ = ['mmdet::_base_/models/cascade-rcnn_r50_fpn.py', '../optimizers/sgd.py']

# Classes and limits as in faster-rcnn_r50_fpn.py.
model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
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
        bbox_head=[dict(head, num_classes=15) for head in _base_.model.roi_head.bbox_head],
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=2000)),
    test_cfg=dict(
        rpn=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(max_per_img=2000),
    ),
)

# mmdet's 0.02 is for 16 images; 0.0025 is the same for two, and what ../optimizers/sgd.py has.
