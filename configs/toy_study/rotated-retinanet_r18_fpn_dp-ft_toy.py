# Neck and head first, after 6 epochs everything.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
    ),
]
