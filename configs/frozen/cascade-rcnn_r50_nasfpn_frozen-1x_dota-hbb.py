_base_ = [
    '../_base_/settings/cascade-rcnn_r50_nasfpn_1x_dota-hbb.py',
    '../_base_/methods/frozen.py',
]
