# Clear weather to fog: trained on Cityscapes, tested on its val split and on the same pictures with
# fog drawn in (Foggy Cityscapes, beta 0.02).
_base_ = 'mmdet::_base_/datasets/cityscapes_detection.py'

# Where annotations, leftImg8bit and leftImg8bit_foggy lie.
data_root = 'data/cityscapes/'

train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='CityscapesDataset',
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
# The foggy pictures have names of their own; ../../domain_shift/README.md makes the list of them.
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                type='CityscapesDataset',
                data_root=data_root,
                ann_file='annotations/instancesonly_filtered_gtFine_val_foggy_beta_0.02.json',
                data_prefix=dict(img='leftImg8bit_foggy/val/'),
                test_mode=True,
                pipeline=_base_.test_pipeline,
            ),
            dict(
                type='CityscapesDataset',
                data_root=data_root,
                ann_file='annotations/instancesonly_filtered_gtFine_val.json',
                data_prefix=dict(img='leftImg8bit/val/'),
                test_mode=True,
                pipeline=_base_.test_pipeline,
            ),
        ],
    ),
)

val_evaluator = dict(
    ann_file=data_root + 'annotations/instancesonly_filtered_gtFine_val.json',
    prefix='cityscapes/coco',
)
# The scores are foggy/coco/bbox_mAP and cityscapes/coco/bbox_mAP.
test_evaluator = dict(
    _delete_=True,
    type='MultiDatasetsEvaluator',
    dataset_prefixes=['foggy', 'cityscapes'],
    metrics=[
        dict(
            type='CocoMetric',
            ann_file=data_root
            + 'annotations/instancesonly_filtered_gtFine_val_foggy_beta_0.02.json',
            metric='bbox',
        ),
        dict(
            type='CocoMetric',
            ann_file=data_root + 'annotations/instancesonly_filtered_gtFine_val.json',
            metric='bbox',
        ),
    ],
)
