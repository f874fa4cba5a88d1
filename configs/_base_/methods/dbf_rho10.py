# The backbone trains in epochs 1, 11, 21, ... of the log and is frozen in all others. What it
# freezes by itself (`frozen_stages=1` of ResNet) stays so; `frozen_stages=-1` changes that.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=10),
        target='backbone',
    )
]
