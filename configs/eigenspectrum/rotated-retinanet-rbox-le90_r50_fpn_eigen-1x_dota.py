_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/eigen.py',
    '../_base_/runtime.py',
]
