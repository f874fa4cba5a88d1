_base_ = [
    '../datasets/dota.py',
    '../models/rotated-retinanet-rbox-le90_swin-s_fpn.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
