# The backbone never trains.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'), target='backbone'),
]
