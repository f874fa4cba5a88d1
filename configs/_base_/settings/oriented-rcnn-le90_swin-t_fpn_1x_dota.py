_base_ = [
    '../datasets/dota.py',
    '../models/oriented-rcnn-le90_swin-t_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
