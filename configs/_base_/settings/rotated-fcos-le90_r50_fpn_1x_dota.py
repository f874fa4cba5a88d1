_base_ = [
    '../datasets/dota.py',
    '../models/rotated-fcos-le90_r50_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
