# As dbf_rho10.py, watched: in the epochs in which the backbone trains, how hard the loss pulls each
# of its stages (every 50 steps); after every epoch, how far it has moved.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='StepFreezing', rho=10),
        target='backbone',
    ),
    dict(type='RGNHook', target='backbone', interval=50),
    dict(type='DriftHook', target='backbone', interval=1),
]
