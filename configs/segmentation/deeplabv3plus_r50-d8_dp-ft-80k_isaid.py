_base_ = [
    '../_base_/models/deeplabv3plus_r50-d8_isaid.py',
    '../_base_/methods/custom_imports.py',
]

# Iterations: the loop of MMSegmentation's configs never advances the epoch.
custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=0.5, by_epoch=False),
        target='backbone',
        keep_probed=True,
    )
]
