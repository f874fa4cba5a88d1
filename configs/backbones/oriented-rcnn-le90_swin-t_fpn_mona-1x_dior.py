_base_ = [
    '../_base_/settings/oriented-rcnn-le90_swin-t_fpn_1x_dior.py',
    '../_base_/methods/frozen.py',
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
)
