_base_ = [
    '../_base_/settings/cascade-rcnn_r50_nasfpn_72e_coco.py',
    '../_base_/methods/frozen.py',
]

# One adapter after each stage, its output for the next stage and the neck: h + conv1x1(h), at the
# start the identity. Adapters train with the detector while the stages between them are frozen.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='ResidualAdapter'),
    ),
)
