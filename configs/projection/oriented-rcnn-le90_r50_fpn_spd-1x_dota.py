_base_ = [
    '../_base_/settings/oriented-rcnn-le90_r50_fpn_1x_dota.py',
    '../_base_/methods/spd.py',
]

# The projection stands in the place of the backbone's weight decay.
optim_wrapper = dict(
    constructor='StageOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(decay_mult=0.0))),
)
