# The backbone never trains: no gradient, no drift. The control of the measurement: every stage is
# marked frozen in rgn.jsonl, and its drift is 0 and its CKA 1 in every epoch.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target='backbone',
    ),
    dict(type='RGNHook', target='backbone', interval=50),
    dict(type='DriftHook', target='backbone', interval=1),
]
