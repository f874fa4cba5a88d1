# Everything trains, all weights of the backbone pulled back alike.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='uniform',
        coeff=0.1,
        target='backbone',
        num_batches=100,
    ),
]
