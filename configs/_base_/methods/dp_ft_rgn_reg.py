# As dp_ft.py, and once it trains the backbone is pulled back to its pre-trained weights as in
# rgn_reg.py. The importance is estimated at the end of probing, as the authors do.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='ProbeThenFinetune', probe=6),
        target='backbone',
    ),
    dict(type='DistortionRegularizerHook', importance='rgn', coeff=0.1, target='backbone'),
]
