_base_ = [
    '../_base_/datasets/dota.py',
    '../_base_/models/oriented-rcnn-le90_swin-t_fpn.py',
    '../_base_/schedules/schedule_1x.py',
    '../_base_/methods/frozen.py',
    '../_base_/runtime.py',
]
