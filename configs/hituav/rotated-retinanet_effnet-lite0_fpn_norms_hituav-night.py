# Of the backbone only scales and shifts of its norm layers train.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target='backbone',
        keep_trainable=[r'\.bn\.', r'\.bn[123]?\.'],
    ),
]
