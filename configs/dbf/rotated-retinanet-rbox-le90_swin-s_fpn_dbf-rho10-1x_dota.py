_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_swin-s_fpn_1x_dota.py',
    '../_base_/methods/dbf_rho10.py',
]
