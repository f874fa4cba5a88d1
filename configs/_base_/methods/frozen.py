# The backbone never trains: neck and heads learn on fixed features.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target='backbone',
    )
]
