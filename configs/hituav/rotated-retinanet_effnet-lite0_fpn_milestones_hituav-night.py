# The backbone trains in the first epoch of each learning rate.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='MilestoneFreezing', train_epochs=[0, 4, 8]),
        target='backbone',
    ),
]
