# The backbone trains in every third epoch.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=3),
        target='backbone',
    ),
]
