# Everything trains, weights pulled back by their relative gradient.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='rgn',
        coeff=0.1,
        target='backbone',
        num_batches=100,
    ),
]
