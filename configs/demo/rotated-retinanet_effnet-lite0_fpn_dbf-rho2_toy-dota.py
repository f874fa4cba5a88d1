# Dynamic Backbone Freezing from ImageNet weights: the backbone trains in every other epoch, from
# the first on. rho=2 because the run is short; over 100 epochs it is 10 or 20.
_base_ = [
    './_base_/rotated-retinanet_effnet-lite0_fpn_toy-dota.py',
    '../_base_/methods/custom_imports.py',
]

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=2),
        target='backbone',
    )
]
