_base_ = [
    '../_base_/settings/rotated-faster-rcnn-le90_r50_fpn_1x_dota.py',
    '../_base_/methods/dbf_rho10.py',
]
