# The short schedule of "Proper Reuse": 72 epochs, a tenth at 48 and 68.
#
# The authors' files have a rate of 0.16 for 64 images; 0.04 is the same for the 16 that mmdet's
# COCO configs are for (8 GPUs with two images). Their warm-up of 500 steps is 2000 steps here: as
# many images. Gradients are clipped as everywhere in this zoo; the authors' files name no limit.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=72, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=0.00004),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.067, by_epoch=False, begin=0, end=2000),
    dict(type='MultiStepLR', begin=0, end=72, by_epoch=True, milestones=[48, 68], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
