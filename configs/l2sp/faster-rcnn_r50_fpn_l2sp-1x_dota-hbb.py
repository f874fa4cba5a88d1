_base_ = [
    '../_base_/settings/faster-rcnn_r50_fpn_1x_dota-hbb.py',
    '../_base_/methods/l2sp.py',
]
