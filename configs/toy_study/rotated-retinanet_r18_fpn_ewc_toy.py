# Everything trains, the backbone pulled back where its gradients are large.
_base_ = './_base_/target.py'

custom_hooks = [
    dict(
        type='DistortionRegularizerHook',
        importance='ewc',
        coeff=0.1,
        target='backbone',
        num_batches=40,
    ),
]
