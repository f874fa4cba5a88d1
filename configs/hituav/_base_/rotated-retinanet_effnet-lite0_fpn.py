# A rotated RetinaNet for two CPU cores: EfficientNet-Lite0 with ImageNet weights, strides 8 to 32,
# and a light neck and head.
_base_ = [
    '../../_base_/models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../../_base_/runtime.py',
    '../../_base_/methods/custom_imports.py',
]

model = dict(
    # The weights' own normalisation; pictures of one channel are loaded as three equal ones.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch='lite0',
        out_indices=(3, 4, 5),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='data/weights/effnet-lite0.pth',
        ),
    ),
    neck=dict(in_channels=[40, 112, 320], out_channels=64, start_level=0, num_outs=4),
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # Horizontal anchors, matched with the upright boxes around the labels: on a CPU the rotated
        # IoU of all anchors takes longer than the rest of the step. Persons are 8 to 15 pixels.
        anchor_generator=dict(
            _delete_=True,
            type='mmdet.AnchorGenerator',
            octave_base_scale=2,
            scales_per_octave=2,
            ratios=[1.0, 0.5, 2.0],
            strides=[8, 16, 32, 64],
            use_box_type=True,
        ),
        bbox_coder=dict(
            _delete_=True,
            type='DeltaXYWHTHBBoxCoder',
            angle_version='le90',
            norm_factor=None,
            edge_swap=True,
            target_means=(0.0, 0.0, 0.0, 0.0, 0.0),
            target_stds=(1.0, 1.0, 1.0, 1.0, 1.0),
        ),
    ),
    train_cfg=dict(assigner=dict(iou_calculator=dict(type='RBbox2HBboxOverlaps2D'))),
    test_cfg=dict(nms_pre=500, max_per_img=200),
)

# Twelve epochs by AdamW, with the zoo's two drops.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=3)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.03))),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    # What is tested is the end of a training: the choice of an epoch would be one more difference.
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
log_processor = dict(window_size=20)
