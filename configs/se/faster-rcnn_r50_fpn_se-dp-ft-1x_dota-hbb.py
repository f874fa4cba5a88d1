_base_ = [
    '../_base_/settings/faster-rcnn_r50_fpn_1x_dota-hbb.py',
    '../_base_/methods/se_dp_ft.py',
]

# One SE block after each stage, its output for the next stage and the neck: hidden width 64, and
# at the start gates near 0.5, as in the authors' code.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='SEBlock', init='paper'),
        per_stage=dict(reduction=[4, 8, 16, 32]),
    ),
)
