_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/roi-trans-le90_r50_nasfpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
]
