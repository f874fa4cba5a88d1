_base_ = [
    '../_base_/settings/cascade-rcnn_r50_nasfpn_1x_dior-hbb.py',
    '../_base_/methods/dp_ft.py',
]
