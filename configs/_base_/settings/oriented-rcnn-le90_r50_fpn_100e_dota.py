_base_ = [
    '../datasets/dota.py',
    '../models/oriented-rcnn-le90_r50_fpn.py',
    '../schedules/schedule_100e.py',
    '../runtime.py',
]
