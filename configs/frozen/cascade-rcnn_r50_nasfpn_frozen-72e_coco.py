_base_ = [
    '../_base_/settings/cascade-rcnn_r50_nasfpn_72e_coco.py',
    '../_base_/methods/frozen.py',
]
