# The backbone trains in every other epoch, watched: the pull when it trains, the drift it leaves.
_base_ = ['./_base_/rotated-retinanet_r18_fpn_toy-dota.py', '../_base_/methods/custom_imports.py']

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=2),
        target='backbone',
    ),
    # The run is short: every 5 steps, and few pictures for the features.
    dict(type='RGNHook', target='backbone', interval=5),
    dict(type='DriftHook', target='backbone', interval=1, num_images=8),
]
