_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_nasfpn_1x_dior.py',
    '../_base_/methods/full.py',
]
