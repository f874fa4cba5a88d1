# "Mind the Backbone" on PASCAL VOC: 80,000 iterations of two images, a tenth at 50,000 and 70,000.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.0025, momentum=0.9, weight_decay=0.0001),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=80000, by_epoch=False, milestones=[50000, 70000]),
]
auto_scale_lr = dict(enable=False, base_batch_size=2)
