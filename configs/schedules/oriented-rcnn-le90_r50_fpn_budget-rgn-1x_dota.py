_base_ = [
    '../_base_/settings/oriented-rcnn-le90_r50_fpn_1x_dota.py',
    '../_base_/methods/budget_rgn.py',
]
