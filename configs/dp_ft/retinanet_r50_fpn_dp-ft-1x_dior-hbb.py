_base_ = [
    '../_base_/settings/retinanet_r50_fpn_1x_dior-hbb.py',
    '../_base_/methods/dp_ft.py',
]
