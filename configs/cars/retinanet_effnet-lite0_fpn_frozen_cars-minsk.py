# The backbone never trains.
_base_ = './retinanet_effnet-lite0_fpn_full_cars-minsk.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target='backbone',
    ),
]
