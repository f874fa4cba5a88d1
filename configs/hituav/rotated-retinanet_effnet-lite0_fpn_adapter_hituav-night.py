# The backbone is frozen; an adapter after each stage, which starts as the identity, trains.
_base_ = './rotated-retinanet_effnet-lite0_fpn_full_hituav-night.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='ResidualAdapter'),
    ),
)
custom_hooks = [
    dict(type='FreezingSchedulerHook', schedule=dict(type='FrozenBackbone'), target='backbone'),
]
