# "Mind the Backbone" on Cityscapes: 24,000 iterations of eight images, a tenth at 18,000.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=24000, val_interval=6000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=24000, by_epoch=False, milestones=[18000]),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
