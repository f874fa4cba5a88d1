_base_ = [
    '../datasets/dota.py',
    '../models/oriented-rcnn-le90_vit-b_sfp.py',
    '../schedules/schedule_1x.py',
    '../runtime.py',
]
