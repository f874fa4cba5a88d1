# Probing, then fine-tuning, in one run: nothing of the backbone trains in the first 24,000
# iterations; then it is pulled back to its pre-trained weights as in rgn_reg.py. Importance is
# estimated at the end of probing, as the authors do.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=24000, by_epoch=False),
        target='backbone',
    ),
    dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1, target='backbone'),
]
