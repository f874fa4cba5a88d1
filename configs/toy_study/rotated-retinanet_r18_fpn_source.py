# The source task of the toy study: from random weights, drawn scenes in all eight styles with eight
# classes, none of which the target task has. Its backbone is the pre-trained one of the study.
_base_ = './_base_/rotated-retinanet_r18_fpn.py'

data_root = 'data/toy_study/source/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))

# The demo's recipe, longer: AdamW, cosine.
train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=0,
        end=16,
        T_max=16,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
randomness = dict(seed=0)
