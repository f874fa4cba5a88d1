_base_ = [
    '../_base_/settings/oriented-rcnn-le90_r50_fpn_100e_dior.py',
    '../_base_/methods/full.py',
]

# From random weights, so that nothing may stay as it is initialised, and with group norm, which
# does not need many images. As mmdet's configs/scratch, but for the heads, which stay the same.
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_eval=False,
        zero_init_residual=False,
        norm_cfg=dict(_delete_=True, type='GN', num_groups=32, requires_grad=True),
        init_cfg=None,
    ),
    neck=dict(norm_cfg=dict(type='GN', num_groups=32, requires_grad=True)),
)
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))
