_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/oriented-rcnn-le90_convnext-t_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
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
