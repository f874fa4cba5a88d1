# Vehicles in visible light from a drone over Minsk, upright boxes, one class. README.md says where
# the tiles come from; `cars_kit`, from a plane, is a test set alone.
dataset_type = 'mmdet.CocoDataset'
data_root = 'data/cars_minsk/'
metainfo = dict(classes=('vehicle',), palette=[(60, 120, 220)])

# Tiles for training have 320 x 270 already, the others up to 390 x 377: with a longer side of 320
# for all, the root of a box's area is 24 to 27 pixels in the median of each set.
scale = (320, 320)
train_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='mmdet.PackDetInputs'),
]
val_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=scale, keep_ratio=True),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=val_pipeline,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(val_dataloader['dataset'], ann_file='test.json', data_prefix=dict(img='test/')),
)
val_evaluator = dict(type='mmdet.CocoMetric', ann_file=f'{data_root}val.json', metric='bbox')
test_evaluator = dict(type='mmdet.CocoMetric', ann_file=f'{data_root}test.json', metric='bbox')
