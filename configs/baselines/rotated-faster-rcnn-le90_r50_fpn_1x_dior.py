_base_ = [
    '../_base_/settings/rotated-faster-rcnn-le90_r50_fpn_1x_dior.py',
    '../_base_/methods/full.py',
]
