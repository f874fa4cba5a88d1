# DIOR-R (DIOR's images with oriented boxes).
_base_ = 'mmrotate::_base_/datasets/dior.py'

# Where Annotations, ImageSets, JPEGImages-trainval and JPEGImages-test lie.
data_root = 'data/DIOR/'

# mmrotate's base trains on train and val together and has no split left to choose a model on.
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='DIORDataset',
        data_root=data_root,
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(img_path='JPEGImages-trainval'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='ImageSets/Main/val.txt',
        data_prefix=dict(img_path='JPEGImages-trainval'),
    )
)
# The labels of the test images are public: testing gives their mAP.
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='ImageSets/Main/test.txt',
        data_prefix=dict(img_path='JPEGImages-test'),
    )
)
