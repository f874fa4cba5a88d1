_base_ = [
    '../_base_/models/deeplabv3plus_r50-d8_isaid.py',
    '../_base_/methods/custom_imports.py',
]

# Every tenth iteration instead of every tenth epoch: the same share of steps in which the backbone
# trains, spread evenly. On several GPUs the distributed wrapper is built anew at each change.
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=10, by_epoch=False),
        target='backbone',
    )
]
