# Neck and head first, then one more stage every epoch, from the output to the input.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='GradualUnfreezing', start=3, every=1),
        target='backbone',
    ),
]
