_base_ = [
    '../_base_/datasets/dior.py',
    '../_base_/models/oriented-rcnn-le90_swin-t_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
]

# Mona in every transformer block, after attention and after the MLP; it trains, the rest does not.
model = dict(
    backbone=dict(
        _delete_=True,
        type='StageBlockBackbone',
        backbone=_base_.model.backbone,
        block=dict(type='Mona'),
        position='in_blocks',
    ),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
