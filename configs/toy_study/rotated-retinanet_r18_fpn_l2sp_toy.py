# Everything trains, all weights of the backbone pulled back alike.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='uniform',
        coeff=0.1,
        target='backbone',
        num_batches=40,
    ),
]
