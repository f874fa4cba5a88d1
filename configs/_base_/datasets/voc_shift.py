# Photographs to drawings: trained on PASCAL VOC 2007 + 2012 trainval, tested on VOC 2007 test and,
# with objects of the same classes, on Clipart, Watercolor and Comic.

# Where VOC2007 and VOC2012 lie, and where clipart, watercolor and comic do.
data_root = 'data/VOCdevkit/'
shift_root = 'data/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomResize', scale=[(1333, 480), (1333, 800)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    # after Resize: predictions are compared at the scale of the file
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='ConcatDataset',
        ignore_keys=['dataset_type'],  # the year, the only thing in which the two differ
        datasets=[
            dict(
                type='VOCDataset',
                data_root=data_root,
                ann_file='VOC2007/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2007/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
            ),
            dict(
                type='VOCDataset',
                data_root=data_root,
                ann_file='VOC2012/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2012/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
            ),
        ],
    ),
)
# During training only the data that the model was trained for; it chooses nothing.
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VOCDataset',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
# All four keep VOC's 20 classes, so that labels mean the same in all. Watercolor and Comic label
# six of them; a class without a single box is left out of the mean, whatever is predicted of it.
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ConcatDataset',
        ignore_keys=['dataset_type'],
        datasets=[
            dict(
                type='VOCDataset',
                data_root=shift_root,
                ann_file='clipart/ImageSets/Main/test.txt',
                data_prefix=dict(sub_data_root='clipart/'),
                test_mode=True,
                pipeline=test_pipeline,
            ),
            dict(
                type='VOCDataset',
                data_root=shift_root,
                ann_file='watercolor/ImageSets/Main/test.txt',
                data_prefix=dict(sub_data_root='watercolor/'),
                test_mode=True,
                pipeline=test_pipeline,
            ),
            dict(
                type='VOCDataset',
                data_root=shift_root,
                ann_file='comic/ImageSets/Main/test.txt',
                data_prefix=dict(sub_data_root='comic/'),
                test_mode=True,
                pipeline=test_pipeline,
            ),
            val_dataloader['dataset'],
        ],
    ),
)

# As the paper: the mean over IoU thresholds from 0.5 to 0.95, by VOC 2007's 11 points for VOC 2007.
thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
val_evaluator = dict(
    type='VOCMetric',
    metric='mAP',
    iou_thrs=thresholds,
    eval_mode='11points',
    prefix='voc2007/pascal_voc',
)
# The scores are clipart/pascal_voc/mAP, clipart/pascal_voc/AP50, ...; in the order of the sets.
test_evaluator = dict(
    type='MultiDatasetsEvaluator',
    dataset_prefixes=['clipart', 'watercolor', 'comic', 'voc2007'],
    metrics=[
        dict(type='VOCMetric', metric='mAP', iou_thrs=thresholds, eval_mode='area'),
        dict(type='VOCMetric', metric='mAP', iou_thrs=thresholds, eval_mode='area'),
        dict(type='VOCMetric', metric='mAP', iou_thrs=thresholds, eval_mode='area'),
        dict(type='VOCMetric', metric='mAP', iou_thrs=thresholds, eval_mode='11points'),
    ],
)
