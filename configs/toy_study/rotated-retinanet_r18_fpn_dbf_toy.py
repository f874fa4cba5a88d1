# The backbone trains in every third epoch; the study sweeps rho.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook', schedule=dict(type='StepFreezing', rho=3), target='backbone'
    ),
]
