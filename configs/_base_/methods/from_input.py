# Everything trains in the first half of 12 epochs; then the stages of the backbone freeze, first
# the one nearest the input, and one more every epoch: in the last two epochs none trains.
_base_ = './custom_imports.py'

custom_hooks = [
    dict(
        type='FreezingSchedulerHook',
        schedule=dict(type='FreezeFromInput', start=6, every=1),
        target='backbone',
    )
]
