# A rotated RetinaNet that learns drawn scenes on two CPU cores in minutes. `make demo` draws them;
# so does: python tools/make_toy_data.py --out data/toy_demo --images 320 40 0 --density 16 \
#   --classes plane ship storage-tank tennis-court roundabout
_base_ = [
    '../../_base_/datasets/dota.py',
    '../../_base_/models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../../_base_/runtime.py',
]

model = dict(
    # ResNet-18 of half the width, and from random weights: those need no network. So no stage may
    # stay at its initial value (`frozen_stages=-1`), and BN has to learn its statistics
    # (`norm_eval=False`). With pre-trained weights keep the zoo's settings instead.
    backbone=dict(
        depth=18,
        base_channels=32,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    bbox_head=dict(
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # Horizontal anchors, matched with the upright boxes around the labels. On a CPU the
        # rotated IoU of all anchors takes longer than the rest of the step.
        anchor_generator=dict(
            _delete_=True,
            type='mmdet.AnchorGenerator',
            octave_base_scale=3,
            scales_per_octave=1,
            ratios=[1.0, 0.5, 2.0],
            strides=[8, 16, 32, 64, 128],
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

# The scenes are 256 pixels wide; the inherited pipelines would enlarge them to 1024.
scale = (256, 256)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
train_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='mmdet.PackDetInputs'),
]
val_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys),
]

data_root = 'data/toy_demo/'
train_dataloader = dict(
    batch_size=4,
    # Loading takes a twentieth of a step: more processes would only take cores away.
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=val_pipeline),
)
# The demo draws no test scenes. The validation scenes have labels: no file for an evaluation
# server, but a score.
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='val/annfiles/',
        data_prefix=dict(img_path='val/images/'),
        pipeline=val_pipeline,
    ),
)
test_evaluator = dict(_delete_=True, type='DOTAMetric', metric='mAP')

# Every epoch, for what a schedule does shows in the epochs that train and in those that do not.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=0,
        end=10,
        T_max=10,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(interval=2, max_keep_ckpts=1),
)
log_processor = dict(window_size=20)
