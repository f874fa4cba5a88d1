_base_ = [
    '../_base_/settings/rotated-retinanet-rbox-le90_r50_fpn_1x_dota.py',
    '../_base_/methods/rgn_reg.py',
]

load_from = 'work_dirs/rotated-retinanet-rbox-le90_r50_fpn_frozen-1x_dota/epoch_12.pth'
