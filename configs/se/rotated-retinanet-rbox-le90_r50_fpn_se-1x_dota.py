_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py',
    '../_base_/methods/full.py',
]

# One SE block after each stage, its output for the next stage and the neck: hidden width 64, and
# at the start the identity, so that everything can train from the first step.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='SEBlock', init='identity'),
        per_stage=dict(reduction=[4, 8, 16, 32]),
    ),
)
