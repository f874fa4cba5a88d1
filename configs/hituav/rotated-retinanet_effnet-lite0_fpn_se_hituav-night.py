# Everything trains, with an SE block after each stage that starts as the identity.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='SEBlock', init='identity'),
    ),
)
