# Neck and head first, from epoch 6 on everything.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
    ),
]
