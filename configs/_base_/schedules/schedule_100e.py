# 100 epochs, as in the example of DBF's authors. Their code would keep the steps of the 1x
# schedule and spend epochs 11 to 99 at a hundredth of the learning rate.
#
# Steps at 60 and 80 rather than at 1x's fractions (67, 92): with them the backbone has an epoch to
# train in at each of the three learning rates under every rho of the zoo (rho=20: 0, 20, 40 | 60 |
# 80) and under the milestones (1, 21, 41 | 61 | 81). With 67 and 92 it would never see the last.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=1.0 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=100, by_epoch=True, milestones=[60, 80], gamma=0.1),
]
