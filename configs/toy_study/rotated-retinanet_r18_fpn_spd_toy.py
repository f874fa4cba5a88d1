# Everything trains, the backbone taken back towards its weights after every step.
_base_ = './_base_/target.py'

custom_hooks = [dict(type='WeightProjectionHook', kind='spd', coeff=1.0, target='backbone')]
# It stands in the place of the backbone's weight decay.
optim_wrapper = dict(
    constructor='StageOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(decay_mult=0.0))),
)
