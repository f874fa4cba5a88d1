# DOTA-v1.0 in the single-scale patches of mmrotate's tools/data/dota/split/img_split.py.
_base_ = 'mmrotate::_base_/datasets/dota.py'

# Where the folders train, val and test lie.
data_root = 'data/split_ss_dota/'

# mmrotate's base trains and validates on the same trainval split: its mAP is a training score.
# Here the model trains on train and is chosen on val; split the two without merging them.
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train/annfiles/',
        data_prefix=dict(img_path='train/images/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='val/annfiles/',
        data_prefix=dict(img_path='val/images/'),
    )
)

# The labels of the test images are not public: testing writes the file for the evaluation server
# (Task 1), with the patches merged into whole images. The folder must not exist yet; name another
# one by `--cfg-options test_evaluator.outfile_prefix=...`.
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='',
        data_prefix=dict(img_path='test/images/'),
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = dict(
    format_only=True, merge_patches=True, outfile_prefix='work_dirs/dota_test/Task1'
)
