_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_fpn_1x_dior.py',
    '../_base_/methods/dbf_rho5.py',
]
