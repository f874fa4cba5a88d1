# The backbone trains in epochs 1, 21, 41, ... of the log, no others: for long schedules only.
# Within 12 epochs it would train in the very first one, warm-up included, and never again.
# What it freezes by itself (`frozen_stages=1` of ResNet) stays frozen in every epoch.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=20),
        target='backbone',
    )
]
