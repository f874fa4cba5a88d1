# The long schedule of "Proper Reuse": 600 epochs, a tenth at 575 and 590.
#
# Rates, warm-up and limit as in schedule_72e_coco.py.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600, val_interval=25)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=0.00004),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.067, by_epoch=False, begin=0, end=2000),
    dict(type='MultiStepLR', begin=0, end=600, by_epoch=True, milestones=[575, 590], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
