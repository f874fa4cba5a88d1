_base_ = [
    '../_base_/settings/retinanet_r50_fpn_1x_dota-hbb.py',
    '../_base_/methods/rgn_reg.py',
]
