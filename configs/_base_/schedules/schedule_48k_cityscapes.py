# schedule_24k_cityscapes.py twice in one run: probing in the first half, fine-tuning in the second.
_base_ = './schedule_24k_cityscapes.py'

train_cfg = dict(max_iters=48000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    # Ten times what is left of it is the first rate again.
    dict(type='MultiStepLR', by_epoch=False, milestones=[24000], gamma=10.0),
    dict(type='MultiStepLR', by_epoch=False, milestones=[18000, 42000]),
    # A warm-up again, for a backbone that has not trained yet.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=24000, end=25000),
]
