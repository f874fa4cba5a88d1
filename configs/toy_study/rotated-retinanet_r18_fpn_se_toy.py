# Everything trains, with an SE block after each stage that starts as the identity.
_base_ = './_base_/target.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='SEBlock', init='identity'),
        per_stage=dict(reduction=[2, 4, 8, 16]),
    ),
)
