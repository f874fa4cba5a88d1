_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/rotated-retinanet-rbox-le90_r50_fpn.py',
    '../_base_/schedules/schedule_100e.py',
    '../_base_/methods/dbf_rho20.py',
    '../_base_/runtime.py',
]
