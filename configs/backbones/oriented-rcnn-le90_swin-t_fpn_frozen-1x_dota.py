_base_ = [
    '../_base_/settings/oriented-rcnn-le90_swin-t_fpn_1x_dota.py',
    '../_base_/methods/frozen.py',
]
