_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_fpn_100e_dota.py',
    '../_base_/methods/full.py',
]
