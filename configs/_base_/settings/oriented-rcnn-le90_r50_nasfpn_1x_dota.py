_base_ = [
    '../datasets/dota.py',
    '../models/oriented-rcnn-le90_r50_nasfpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
