# Everything trains, weights pulled back by the size of their gradient.
_base_ = './oriented-rcnn_effnet-lite0_fpn_full_hituav-night.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='ewc',
        coeff=0.1,
        target='backbone',
        num_batches=100,
    ),
]
