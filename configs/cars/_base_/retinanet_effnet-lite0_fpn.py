# The detector of ../../hituav with upright boxes: EfficientNet-Lite0 with ImageNet weights, strides
# 8 to 32, a light neck and head, and its optimizer.
_base_ = '../../hituav/_base_/rotated-retinanet_effnet-lite0_fpn.py'

model = dict(
    data_preprocessor=dict(boxtype2tensor=True),
    bbox_head=dict(
        num_classes=1,
        # Sides of 16 and 23 pixels at stride 8, 32 and 45 at 16; half of the boxes: 24 to 30.
        anchor_generator=dict(use_box_type=False),
        bbox_coder=dict(
            _delete_=True,
            type='mmdet.DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            # What a tile's border cuts below half is neither an object nor background.
            ignore_iof_thr=0.5,
            iou_calculator=dict(_delete_=True, type='mmdet.BboxOverlaps2D'),
        )
    ),
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5)),
)
visualizer = dict(type='mmdet.DetLocalVisualizer')

# As many steps as there: 27 times 44.
train_cfg = dict(max_epochs=27, val_interval=9)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', begin=0, end=27, by_epoch=True, milestones=[18, 25], gamma=0.1),
]
