_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
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
