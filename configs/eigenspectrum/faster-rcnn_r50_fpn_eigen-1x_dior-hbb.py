_base_ = [
    '../_base_/settings/faster-rcnn_r50_fpn_1x_dior-hbb.py',
    '../_base_/methods/eigen.py',
]
