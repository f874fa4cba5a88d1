_base_ = [
    '../_base_/settings/retinanet_r50_fpn_1x_dota-hbb.py',
    '../_base_/methods/frozen.py',
]

# One adapter after each stage, its output for the next stage and the neck: h + conv1x1(h), at the
# start the identity.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='ResidualAdapter'),
    ),
)
