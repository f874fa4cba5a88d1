_base_ = [
    '../_base_/datasets/dota_hbb.py',
    '../_base_/models/cascade-rcnn_r50_nasfpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/dp_ft_rgn_reg.py',
    '../_base_/runtime_hbb.py',
]
