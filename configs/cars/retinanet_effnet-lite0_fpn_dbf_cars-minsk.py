# The backbone trains in every third epoch.
_base_ = './retinanet_effnet-lite0_fpn_full_cars-minsk.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=3),
        target='backbone',
    ),
]
