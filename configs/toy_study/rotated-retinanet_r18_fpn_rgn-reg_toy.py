# Everything trains, the backbone pulled back where its relative gradient norm is high.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='rgn',
        coeff=0.1,
        target='backbone',
        num_batches=40,
    ),
]
