_base_ = [
    '../_base_/settings/oriented-rcnn-le90_swin-s_fpn_1x_dior.py',
    '../_base_/methods/frozen.py',
]
