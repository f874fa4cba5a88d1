# The backbone is frozen; an adapter after each stage, which starts as the identity, trains.
_base_ = './_base_/target.py'

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
