_base_ = [
    '../_base_/settings/oriented-rcnn-le90_r50_nasfpn_1x_dior.py',
    '../_base_/methods/ewc.py',
]
