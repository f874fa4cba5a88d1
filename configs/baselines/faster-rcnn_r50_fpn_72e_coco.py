_base_ = [
    '../_base_/settings/faster-rcnn_r50_fpn_72e_coco.py',
    '../_base_/methods/full.py',
]
