# The backbone never trains, and computes the features of each of four views of a tile once.
_base_ = './rotated-retinanet_effnet-lite0_fpn_frozen_hituav-night.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FrozenBackbone'),
        target='backbone',
    ),
    dict(
        type='FeatureCacheHook',
        views=4,
        storage='disk',
        folder='work_dirs/features/hituav-night',
    ),
]
