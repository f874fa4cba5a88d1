# schedule_80k_voc.py twice in one run: probing in the first half, fine-tuning in the second.
_base_ = './schedule_80k_voc.py'

train_cfg = dict(max_iters=160000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    # A hundred times what is left of it is the first rate again.
    dict(type='MultiStepLR', by_epoch=False, milestones=[80000], gamma=100.0),
    dict(type='MultiStepLR', by_epoch=False, milestones=[50000, 70000, 130000, 150000]),
    # A warm-up again, for a backbone that has not trained yet.
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=80000, end=80500),
]
