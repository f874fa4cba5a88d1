_base_ = [
    '../_base_/settings/oriented-rcnn-le90_convnext-t_fpn_1x_dior.py',
    '../_base_/methods/frozen.py',
]

custom_imports = dict(imports=['mmpretrain.models', 'mmbackbone_plugins'])

# One adapter after each stage: h + conv1x1(h), at the start the identity.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='ResidualAdapter'),
    ),
)
