_base_ = [
    '../_base_/settings/oriented-rcnn-le90_r50_fpn_100e_dota.py',
    '../_base_/methods/dbf_rho10.py',
]
